#!/usr/bin/env bash
# Table "cube-single" of docs/results.md: the demo preset with 100 evaluation episodes and 300 instead
# of 100 updates an online round (the paper has 500), four seeds, two at a time with one thread each:
# about 40 minutes a pair on two cores (SEEDS="0 1" for a part). A killed script continues where it
# was. Each run's progress is in runs/cube_single/seedS.log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p runs/cube_single
export OMP_NUM_THREADS=1
printf '%s\n' ${SEEDS:-0 1 2 3} | xargs -P 2 -I SEED sh -c '
  .venv/bin/softflow demo --env cube-single --run runs/cube_single/seedSEED --seed SEED \
    --online-rl.num-updates 300 --eval-episodes 100 --num-workers 1 \
    >> runs/cube_single/seedSEED.log 2>&1'
.venv/bin/python runs/table.py runs/cube_single/seed?
