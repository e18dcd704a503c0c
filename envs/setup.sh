#!/usr/bin/env bash
# Install .venv, once: `envs/setup.sh cpu|cuda|light [study file]`. A study that starts from scores or from worlds with
# a known target needs only light.lock; it uses a fuller environment if one is installed.
#   envs/setup.sh uv            only Python and uv
#   envs/setup.sh docs          the tools that build the documentation site, in .venv/docs
#   envs/setup.sh mark cpu      print the file whose existence means that cpu.lock is installed
#   envs/setup.sh which cpu [study file]   print the lock that would be installed
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin

give_up() { echo "error: $*" >&2; exit 1; }

mark() { echo ".venv/installed-$1-$(cat "envs/$1.lock" pyproject.toml | sha256sum | cut -c1-12)"; }

is_3_11() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }

# Install Python 3.11 and uv in .venv; if the machine has another Python, uv downloads 3.11
bring_uv() {
  [ -x $bin/uv ] && return
  local pinned python said
  pinned=$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' envs/light.in)
  for python in "${PYTHON:-python3.11}" python3.11 python3; do
    if is_3_11 "$python"; then
      "$python" -m venv .venv
      $bin/pip install --quiet --disable-pip-version-check "$pinned"
      return
    fi
  done
  local remedy="install Python 3.11 (the CPU build of torch is for 3.11), or use make PYTHON=/path/to/python3.11"
  python=$(command -v "${PYTHON:-python3}" || command -v python3) || give_up "no Python was found: $remedy"
  echo "no Python 3.11 was found: uv downloads it"
  helper=$(mktemp -d)
  trap 'rm -rf "$helper"' EXIT
  said=$({ "$python" -m venv "$helper/venv" && "$helper/venv/bin/pip" install --quiet --disable-pip-version-check "$pinned"; } 2>&1) ||
    give_up "$python cannot install uv, which would download Python 3.11: $remedy; its message: $said"
  said=$("$helper/venv/bin/uv" venv --quiet --allow-existing --python 3.11 .venv 2>&1) ||
    give_up "Python 3.11 could not be downloaded: $remedy; message of uv: $said"
  "$helper/venv/bin/uv" pip install --quiet --python $bin/python "$pinned"
}

install() {
  local hardware=$1 options=() installed
  installed=$(mark "$hardware")
  [ -e "$installed" ] && return
  bring_uv
  echo "installing .venv for $hardware (only once; takes a minute or two)"
  # wheels from a local folder, if pip is configured for one; otherwise torch comes from an index of CPU builds
  if [ -n "${PIP_FIND_LINKS:-}" ]; then options+=(--find-links "$PIP_FIND_LINKS"); fi
  if [ "$hardware" = cpu ] && [ -z "${PIP_FIND_LINKS:-}" ]; then options+=(--torch-backend=cpu); fi
  $bin/uv pip sync --quiet --python $bin/python ${options[@]+"${options[@]}"} "envs/$hardware.lock" ||
    give_up "not all packages of envs/$hardware.lock could be installed. If the index no longer has one of them, put a" \
      "saved copy of its wheel into a folder and name the folder in PIP_FIND_LINKS. Studies that start from scores or" \
      "from worlds with a known target need fewer packages: make study HARDWARE=light"
  $bin/uv pip install --quiet --python $bin/python --no-deps --no-build-isolation --editable .
  rm -f .venv/installed-*
  touch "$installed"
}

# The tools of the site read the library's sources but do not import them. They are installed outside .venv, so that
# they add nothing to its installation and their lock need not agree with the others.
install_docs() {
  local installed
  installed=.venv/docs/installed-$(sha256sum < envs/docs.lock | cut -c1-12)
  [ -e "$installed" ] && return
  bring_uv
  $bin/uv venv --quiet --clear --python $bin/python .venv/docs
  $bin/uv pip sync --quiet --python .venv/docs/bin/python envs/docs.lock ||
    give_up "not all packages of envs/docs.lock could be installed; only the documentation site needs them"
  touch "$installed"
}

# A study that starts from scores or from worlds with a known target loads no model. The file is read without a YAML
# library, because there may be no environment yet.
which() {
  if [ -n "${2:-}" ] && ! compgen -G '.venv/installed-c*' >/dev/null && grep -qsE '^(scores|learning):' -- "$2"; then
    echo light
  else
    echo "$1"
  fi
}

case $1 in
  uv) bring_uv ;;
  docs) install_docs ;;
  mark) mark "$2" ;;
  which) which "${@:2}" ;;
  *) install "$(which "$@")" ;;
esac
