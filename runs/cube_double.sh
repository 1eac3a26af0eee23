#!/usr/bin/env bash
# Table "cube-double" of docs/results.md: the demo preset on the first of two-cube tasks (move one of
# them), 100 evaluation episodes, two seeds side by side with one thread each. A killed script
# continues where it was. Each run's progress is in runs/cube_double/seedS.log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p runs/cube_double
export OMP_NUM_THREADS=1
printf '%s\n' ${SEEDS:-0 1} | xargs -P 2 -I SEED sh -c '
  .venv/bin/softflow demo --env cube-double-task1 --run runs/cube_double/seedSEED --seed SEED \
    --eval-episodes 100 --num-workers 1 >> runs/cube_double/seedSEED.log 2>&1'
.venv/bin/python runs/table.py runs/cube_double/seed?
