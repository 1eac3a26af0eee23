#!/usr/bin/env bash
# The table of fine-tuning in docs/results.md: a policy that brings the cube to one place shall bring it to another,
# of which there are 20 successful demonstrations. One policy, a new set of 20 for every seed.
#
#     runs/fine_tuning.sh                          task 1 of cube-single, seeds 0 1 2; one thread
#     SEEDS="3 4" TASKS="1 4" runs/fine_tuning.sh  others
#
# Each measures, after so many updates of imitation, the policy tuned (100) and from scratch (1000); then with as few from
# scratch (100), as it was before (0), and tuned longer (400). A killed script continues where it was. Runs are in
# runs/fine_tuning, their progress in runs/fine_tuning/log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=runs/fine_tuning
mkdir -p "$folder"
export OMP_NUM_THREADS=1

softflow() { .venv/bin/python -m softflow "$@" >> "$folder/log" 2>&1; }
collect() { softflow collect --env "$1" --seed "$2" --episodes "$3" --out "$4" --workers 1; }

imitate() { # DATA RUN SEED UPDATES [FLAGS]
  local data=$1 run=$2 seed=$3 updates=$4
  shift 4
  softflow train softflow-plus --dataset "$data" --run "$run" --seed "$seed" --stages imitation \
    --imitation.num-updates "$updates" --num-workers 1 "$@"
}

first_successes() { # STORE OUT NUMBER
  .venv/bin/python - "$@" << 'PYTHON'
import sys

from softflow import EpisodeStore

source, out, number = EpisodeStore.open(sys.argv[1]), sys.argv[2], int(sys.argv[3])
good = [i for i in range(len(source)) if source.episode(i).success][:number]
assert len(good) == number, f"{len(good)} successes in {sys.argv[1]}, {number} wanted"
with EpisodeStore.open_or_create(out, source.spec) as store:
    for i in good[len(store) :]:
        store.append(source.episode(i))
PYTHON
}

measured() { # DATA RUN SEED UPDATES [FLAGS]
  imitate "$@" --eval-episodes 50
}

base=$folder/seed0
collect cube-single 0 120 "$base/demonstrations"
imitate "$base/demonstrations" "$base/base" 0 4000 --eval-episodes 0
for task in ${TASKS:-1}; do
  for seed in ${SEEDS:-0 1 2}; do
    new=$folder/task$task/seed$seed
    collect "cube-single-task$task" "$((1000 + seed))" 50 "$new/demonstrations"
    first_successes "$new/demonstrations" "$new/twenty" 20
    measured "$new/twenty" "$new/tuned" "$seed" 100 --from "$base/base"
    measured "$new/twenty" "$new/scratch" "$seed" 1000
  done
  for seed in ${SEEDS:-0 1 2}; do
    new=$folder/task$task/seed$seed
    measured "$new/twenty" "$new/scratch_100" "$seed" 100
    measured "$new/twenty" "$new/as_it_is" "$seed" 0 --from "$base/base"
    measured "$new/twenty" "$new/tuned_400" "$seed" 400 --from "$base/base"
  done
done
for name in as_it_is tuned tuned_400 scratch_100 scratch; do
  echo "$name"
  .venv/bin/python runs/table.py "$folder"/task*/seed*/$name
done
