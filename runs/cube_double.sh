#!/usr/bin/env bash
# Table "cube-double" of docs/results.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for seed in ${SEEDS:-0 1}; do
  .venv/bin/softflow demo --env cube-double-task1 --run "runs/cube_double/seed$seed" \
    --seed "$seed" --eval-episodes 100
done
.venv/bin/python runs/table.py runs/cube_double/seed*
