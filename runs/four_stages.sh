#!/usr/bin/env bash
# A table of docs/results.md: one preset on one task with 100 evaluation episodes a stage, several
# seeds, two at a time with one thread each.
#
#     runs/four_stages.sh NAME TASK PRESET FLAGS...     e.g. runs/four_stages.sh scene scene softflow-plus
#     SEEDS="4 5" runs/four_stages.sh ...               other seeds than 0 1 2 3
#     COLLECT="--image-size 84 84" runs/four_stages.sh ...   more for `softflow collect`
#
# FLAGS go to `softflow train`. A killed script continues where it was. A run is runs/NAME/seedS, its
# progress runs/NAME/seedS.log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 3 ] || [ "${1#-}" != "$1" ]; then
  sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
folder=runs/$1 task=$2 preset=$3
shift 3
mkdir -p "$folder"
export OMP_NUM_THREADS=1 COLLECT=${COLLECT:-}
printf '%s\n' ${SEEDS:-0 1 2 3} | xargs -P 2 -I SEED sh -c '
  run=$1/seedSEED task=$2 preset=$3; shift 3
  { .venv/bin/softflow collect --out "$run/demonstrations" --env "$task" --seed SEED --workers 1 $COLLECT &&
    .venv/bin/softflow train "$preset" --dataset "$run/demonstrations" --run "$run" --seed SEED \
      --eval-episodes 100 --num-workers 1 "$@"; } >> "$run.log" 2>&1' run "$folder" "$task" "$preset" "$@"
.venv/bin/python runs/table.py "$folder"/seed?
