#!/usr/bin/env bash
# A real Slurm of one node for the tests, four fake GPUs included: one_node.sh up|down.
# Debian or Ubuntu, as root, without systemd; refuses where a Slurm is set up already.
set -euo pipefail
D=${SLURM_CI_DIR:-/run/slurm-ci} P=${SLURM_CI_PORT:-16817} H=$(hostname -s) C=/etc/slurm/slurm.conf

[ "$(id -u)" = 0 ] || { echo "starting a Slurm takes root" >&2; exit 1; }
alive() { [ -s "$D/$1.pid" ] && kill -0 "$(cat "$D/$1.pid")" 2>/dev/null; }
start() { local n=$1; shift; alive "$n" || { setsid "$@" >>"$D/$n.log" 2>&1 </dev/null & echo $! >"$D/$n.pid"; }; }
stop() {
  alive "$1" || return 0
  local p; p=$(cat "$D/$1.pid"); kill "$p"
  for _ in $(seq 80); do kill -0 "$p" 2>/dev/null || return 0; sleep .1; done
  kill -9 "$p"
}
wait_for() {
  for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return 0; sleep .1; done
  echo "timeout: $*" >&2; tail -vn5 "$D"/*.log >&2; exit 1
}

if [ -e $C ] && [ "$(readlink -f $C)" != "$(readlink -f "$D/slurm.conf")" ]; then
  echo "a Slurm is set up here already ($C): refusing" >&2; exit 1
fi
# what an earlier one left, too
if alive slurmctld; then # let it end what it runs, or the processes stay
  timeout 5 scancel --me || true
  for _ in $(seq 50); do [ -n "$(timeout 5 squeue --noheader 2>/dev/null)" ] || break; sleep .2; done
fi
for n in slurmd slurmctld munged; do stop $n; done
rm -rf "$C" "$D"
[ "${1:-up}" = up ] || exit 0

packages=(slurmctld slurmd slurm-client munge)
if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then # RUNLEVEL=1: installing them starts no daemon
  [ "${ALL_TESTS:-}" = must-run ] || { echo "not installed: apt-get install ${packages[*]}" >&2; exit 1; }
  exec 8>/tmp/one-apt.lock; flock 8 # tests of storage install something, too
  apt-get update -qq
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends "${packages[@]}" >/dev/null
  exec 8>&-
fi
mkdir -p "$D"/{spool,state} /etc/slurm; chmod 755 "$D"
[ -s "$D/munge.key" ] || (umask 077; head -c 128 /dev/urandom >"$D/munge.key")
start munged munged -F --force --key-file="$D/munge.key" --socket="$D/munge.sock" --pid-file="$D/munged.own" \
  --log-file="$D/munged2.log" --seed-file="$D/munge.seed"
wait_for munge -n -S "$D/munge.sock"
# more CPUs and memory than there may be, so that the profile's requests fit; memory is still enforced
cat >"$D/slurm.conf" <<CONF
ClusterName=ci
SlurmctldHost=$H(127.0.0.1)
SlurmctldPort=$P
SlurmdPort=$((P + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$D/munge.sock
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool
SlurmctldPidFile=$D/ctld.own
SlurmdPidFile=$D/d.own
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
ReturnToService=2
MinJobAge=600
KillWait=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2
GresTypes=gpu
AccountingStorageType=accounting_storage/none
NodeName=ci NodeHostname=$H NodeAddr=127.0.0.1 CPUs=32 RealMemory=200000 Gres=gpu:fake:4 State=UNKNOWN
PartitionName=ci Nodes=ci Default=YES MaxTime=INFINITE State=UP
CONF
printf 'NodeName=ci Name=gpu Type=fake File=%s\n' /dev/null /dev/zero /dev/full /dev/random >"$D/gres.conf" # distinct device files
# it must be where Slurm looks by itself: the plug-in drops SLURM_CONF from the environment of its steps
ln -sfn "$D/slurm.conf" $C
start slurmctld slurmctld -D -f "$D/slurm.conf"; wait_for scontrol ping
start slurmd slurmd -D -N ci -f "$D/slurm.conf"; wait_for sh -c 'sinfo -hNo %T | grep -qE "idle|mixed|alloc"'
sinfo -No '%N %T %c %m %G'
