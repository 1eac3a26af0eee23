#!/usr/bin/env bash
# The cube in the hand (V-C, Fig. 5): teacher, student, then seven rounds of online RL on the twin, a hand that the
# teacher never saw. Ends with the tables and the figure of docs/results.md.
#
#     runs/cube.sh --small            one seed, an hour and a half of one core
#     runs/cube.sh                    three seeds, two at a time
#     SEEDS="3 4" TWIN=orca-cube-twin-task125 runs/cube.sh      other seeds, a wider gap
#
# A killed script continues where it was. A seed is runs/cube/seedS: teacher, student, run; its progress seedS/log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seeds=${SEEDS:-0 1 2}
[ "${1:-}" = --small ] && seeds=${SEEDS:-0}
folder=${FOLDER:-runs/cube}
export OMP_NUM_THREADS=1

one_seed() { # FOLDER SEED TWIN
  local here=$1/seed$2 python=.venv/bin/python
  mkdir -p "$here"
  {
    $python -m softflow teacher train two-cores --run "$here/teacher" --seed "$2"
    $python -m softflow teacher distill cube-small "$here/teacher" --run "$here/student" --seed "$2" --env-id "$3" \
      --distill.iterations 120 --distill.evaluate-every 30
    $python -m softflow train cube-small --dataset "$here/student/episodes" --run "$here/run" --seed "$2" \
      --from "$here/student" --stages critic_warmup online_rl --num-workers 1 --eval-episodes 30 --round-eval-episodes 30
  } >> "$here/log" 2>&1
}
export -f one_seed
printf '%s\n' $seeds | xargs -P 2 -I SEED bash -euo pipefail -c 'one_seed "$@"' one "$folder" SEED "${TWIN:-orca-cube-twin}"
.venv/bin/python runs/cube_figure.py $(printf "$folder/seed%s " $seeds) --out "$folder/cube.png"
