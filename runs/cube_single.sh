#!/usr/bin/env bash
# Table "cube-single" of docs/results.md: the demo preset with 100 evaluation episodes, four seeds.
# About 25 minutes a seed on two cores. A killed script continues where it was.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for seed in ${SEEDS:-0 1 2 3}; do
  .venv/bin/softflow demo --env cube-single --run "runs/cube_single/seed$seed" \
    --seed "$seed" --eval-episodes 100
done
.venv/bin/python runs/table.py runs/cube_single/seed*
