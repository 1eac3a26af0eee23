#!/usr/bin/env bash
# The tables of RoboMimic's tasks in docs/results.md, from nothing: scripted operators demonstrate Lift, Can
# and Square (docs/robomimic.md), softflow-plus learns them from state and small-image Lift from pixels.
#
#     runs/robomimic.sh                  everything that is missing; two runs at a time, one thread each
#     SEEDS=0 runs/robomimic.sh          other seeds than 0 1 2
#
# A killed script continues where it was (runs/four_stages.sh).
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
export SEEDS=${SEEDS:-0 1 2}
"$here/four_stages.sh" lift_state lift softflow-plus --eval-episodes 50
"$here/four_stages.sh" can_state can softflow-plus --eval-episodes 50
"$here/four_stages.sh" square_state square softflow-plus --eval-episodes 50
COLLECT="--image-size 84 84" "$here/four_stages.sh" lift_pixels lift small-image --eval-episodes 50
