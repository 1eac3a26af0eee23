#!/usr/bin/env bash
# Every method and seed of a table of docs/results.md. Called by runs/peers_TASK.sh and runs/levers_TASK.sh,
# which list the methods; these take the same options:
#
#     runs/peers_cube_single.sh                       everything that is missing, a process a core
#     runs/peers_cube_single.sh --jobs 4              four runs at a time, one thread each
#     runs/peers_cube_single.sh --seeds "0 1"         other seeds than the table's
#     runs/peers_cube_single.sh --list                print the commands, and do nothing else
#
# A killed script continues where it was: rows that are there are not measured again. Progress of a run is in
# runs/peers/logs. At the end the page and its figure are written from the rows.
#
#     runs/peers.sh TASK [--csv FILE] [options above] < methods
#
# A line of input is a method with its settings; empty lines and those that begin with # are skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
usage() { echo "$1" >&2; sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || usage "the first argument is a task"
task=$1
shift
seeds="0 1 2 3" jobs=$(getconf _NPROCESSORS_ONLN) list= places=
while [ $# -gt 0 ]; do
  case $1 in
    --list) list=yes; shift; continue ;;
    --seeds | --jobs | --csv) [ $# -ge 2 ] || usage "$1 needs a value" ;;
    *) usage "$1: no such option" ;;
  esac
  case $1 in
    --seeds) seeds=$2 ;;
    --jobs) jobs=$2 ;;
    --csv) places=" --csv $2" ;;
  esac
  shift 2
done

methods=$(grep -v '^ *\(#\|$\)')
commands=$(for seed in $seeds; do
  while read -r method; do
    echo "python -m benchmarks.peers --method $method --task $task --seed $seed$places"
  done <<< "$methods"
done)
if [ "$list" ]; then echo "$commands"; exit; fi

# The words of a command are simple: none has a space.
run() {
  log=$(tr -cs '[:alnum:]=.-' _ <<< "${1#*--method }")
  log=${log%_}
  # File systems take names of 255 bytes.
  [ ${#log} -le 200 ] || log=${log:0:180}_$(cksum <<< "$log" | cut -d ' ' -f 1)
  echo "$1"
  .venv/bin/$1 >> "runs/peers/logs/$log.log" 2>&1 ||
    { echo "failed, see runs/peers/logs/$log.log: $1" >&2; return 1; }
}
export -f run
export OMP_NUM_THREADS=1
mkdir -p runs/peers/logs
status=0
tr '\n' '\0' <<< "$commands" | xargs -0 -n 1 -P "$jobs" bash -c 'run "$1"' run || status=$?
.venv/bin/python -m benchmarks.peers.page
exit "$status"
