#!/usr/bin/env bash
# The table of fine-tuning in docs/results.md: a policy that brings the cube to one place shall bring it to another,
# of which there are 20 successful demonstrations.
#
#     runs/fine_tuning.sh                          task 1 of cube-single, seeds 0 1 2; one thread
#     SEEDS="3 4" TASKS="1 4" runs/fine_tuning.sh  others
#
# Each measures, with so many updates of imitation: the policy tuned (400), from scratch with ten times as many (4000) and
# with as many (400), and the policy as it was before (0). A killed script continues where it was. Runs are in
# runs/fine_tuning/seedS, their progress in runs/fine_tuning/log.
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

for task in ${TASKS:-1}; do
  for seed in ${SEEDS:-0 1 2}; do
    at=$folder/seed$seed
    collect cube-single "$seed" 120 "$at/demonstrations"
    imitate "$at/demonstrations" "$at/base" "$seed" 4000 --eval-episodes 0
    new=$at/task$task
    collect "cube-single-task$task" "$((1000 + seed))" 50 "$new/demonstrations"
    first_successes "$new/demonstrations" "$new/twenty" 20
    imitate "$new/twenty" "$new/tuned" "$seed" 400 --from "$at/base" --eval-episodes 50
    imitate "$new/twenty" "$new/scratch" "$seed" 4000 --eval-episodes 50
    imitate "$new/twenty" "$new/scratch_400" "$seed" 400 --eval-episodes 50
    imitate "$new/twenty" "$new/as_it_is" "$seed" 0 --from "$at/base" --eval-episodes 50
  done
done
