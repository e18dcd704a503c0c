#!/usr/bin/env bash
# Set up .venv, once: `envs/setup.sh cpu|cuda|light [study file]`. A study that starts at scores or in worlds of known
# target needs light.lock alone; it takes a fuller environment where there is one.
#   envs/setup.sh uv            only Python and uv
#   envs/setup.sh docs          what builds the documentation site, in .venv/docs
#   envs/setup.sh mark cpu      the file that says that cpu.lock is installed
#   envs/setup.sh which cpu [study file]   the lock that it would take
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin

give_up() { echo "error: $*" >&2; exit 1; }

mark() { echo ".venv/installed-$1-$(cat "envs/$1.lock" pyproject.toml | sha256sum | cut -c1-12)"; }

is_3_11() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }

# Python 3.11 in .venv, and uv in it; a machine whose Python is another lets uv bring 3.11
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
  local remedy="install Python 3.11 (the CPU build of torch is for 3.11), or say make PYTHON=/path/to/python3.11"
  python=$(command -v "${PYTHON:-python3}" || command -v python3) || give_up "no Python was found: $remedy"
  echo "no Python 3.11 here: uv brings it"
  helper=$(mktemp -d)
  trap 'rm -rf "$helper"' EXIT
  said=$({ "$python" -m venv "$helper/venv" && "$helper/venv/bin/pip" install --quiet --disable-pip-version-check "$pinned"; } 2>&1) ||
    give_up "$python cannot install uv, which would bring Python 3.11: $remedy; it said: $said"
  said=$("$helper/venv/bin/uv" venv --quiet --allow-existing --python 3.11 .venv 2>&1) ||
    give_up "Python 3.11 could not be downloaded: $remedy; uv said: $said"
  "$helper/venv/bin/uv" pip install --quiet --python $bin/python "$pinned"
}

install() {
  local hardware=$1 options=() installed
  installed=$(mark "$hardware")
  [ -e "$installed" ] && return
  bring_uv
  echo "setting up .venv for $hardware (once; a minute or two)"
  # wheels that lie in a local folder, if pip has been told of one; else torch is in an index of CPU builds
  if [ -n "${PIP_FIND_LINKS:-}" ]; then options+=(--find-links "$PIP_FIND_LINKS"); fi
  if [ "$hardware" = cpu ] && [ -z "${PIP_FIND_LINKS:-}" ]; then options+=(--torch-backend=cpu); fi
  $bin/uv pip sync --quiet --python $bin/python ${options[@]+"${options[@]}"} "envs/$hardware.lock" ||
    give_up "the packages of envs/$hardware.lock could not all be installed. If the index no longer has one, put a kept" \
      "copy of its wheel into a folder and name that in PIP_FIND_LINKS. Studies that start at scores or in worlds of" \
      "known target need fewer: make study HARDWARE=light"
  $bin/uv pip install --quiet --python $bin/python --no-deps --no-build-isolation --editable .
  rm -f .venv/installed-*
  touch "$installed"
}

# The site's tools read the library's sources and import nothing of them: apart from .venv, so that they add nothing to
# its set-up and no lock has to agree with another.
install_docs() {
  local installed
  installed=.venv/docs/installed-$(sha256sum < envs/docs.lock | cut -c1-12)
  [ -e "$installed" ] && return
  bring_uv
  $bin/uv venv --quiet --clear --python $bin/python .venv/docs
  $bin/uv pip sync --quiet --python .venv/docs/bin/python envs/docs.lock ||
    give_up "the packages of envs/docs.lock could not all be installed; only the documentation site needs them"
  touch "$installed"
}

# A study that begins with scores or in worlds of known target loads no model. Read without YAML, as there may be no
# environment yet.
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
