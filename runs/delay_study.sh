#!/usr/bin/env bash
# The delay study of docs/results.md: cube-single with decisions that take 0, 1, 2, 3 and 5 control steps.
#
#     runs/delay_study.sh                               about an hour a seed on one quiet core
#     SEEDS="0 1" DELAYS="0 3 5" EPISODES=50 runs/delay_study.sh    fewer than 0 1 2, 0 1 2 3 5 and 100 a cell
#
# Of every seed and delay: a policy with as many prefix actions, from the same demonstrations, by imitation and
# the critic's warm-up; chunks of 10 actions, a decision every 5. The one without prefix is measured twice at each
# delay: going on with what is left of its chunk, and stopping to think. (A policy with prefix P acts alike at every
# delay up to P.) A killed script continues where it was. A run is runs/delay_study/seedS/prefixP.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS=1
softflow=.venv/bin/softflow step_ms=50 episodes=${EPISODES:-100}

measure() { # RUN DELAY FLAGS...: the number of a cell, unless it is there
  local run=$1 delay=$2
  shift 2
  local done="$run/delays/$delay$*-n$episodes.done"
  [ -e "$done" ] && return
  "$softflow" evaluate "$run" --episodes "$episodes" --workers 1 --out "$run/delays" \
    --latency-ms $((delay * step_ms)) "$@"
  touch "$done"
}

for seed in ${SEEDS:-0 1 2}; do
  folder=runs/delay_study/seed$seed
  "$softflow" collect --out "$folder/demonstrations" --env cube-single --seed "$seed" --workers 1
  for delay in ${DELAYS:-0 1 2 3 5}; do
    run=$folder/prefix$delay
    "$softflow" train softflow-plus --dataset "$folder/demonstrations" --run "$run" --seed "$seed" \
      --stages imitation critic_warmup --critic-warmup.num-updates 1200 \
      --model.chunk.chunk-length 10 --model.chunk.execution-horizon 5 \
      --model.chunk.prefix-length "$delay" --eval-episodes 0 --num-workers 1
    measure "$run" "$delay"
    if [ "$delay" -gt 0 ]; then
      measure "$folder/prefix0" "$delay"
      measure "$folder/prefix0" "$delay" --stop-to-think
    fi
  done
done
.venv/bin/python runs/delay_table.py runs/delay_study/seed? --figure docs/figures/delay_study.png
