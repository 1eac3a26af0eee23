#!/usr/bin/env bash
# What labels are worth, and what wrong ones cost: the table in docs/results.md.
#
#     runs/label_to_policy.sh                        4 seeds; imitation 2 to 3 minutes a policy on a free core, RL 5 more
#     SEEDS="0 1" ARMS="all wrong00" runs/label_to_policy.sh        fewer
#
# Demonstrations of mixed quality lose their outcome; a stated rule (runs/stated_annotator.py) then
# plays the person who labels. The arms, each trained from the same recordings:
#     all      without labels: every episode is counted as a success at its end
#     wrong00  the rule's labels        wrong05, wrong20  5 % and 20 % of them say the other outcome
# Imitation of all arms first, then the two stages of offline RL, with fewer updates than softflow-plus has;
# no online RL, in which the environment would reward by itself. A killed script continues where it
# was. A run is FOLDER/seedS/ARM, its progress FOLDER/seedS/ARM.log; FOLDER is runs/label_to_policy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${FOLDER:-runs/label_to_policy} arms=${ARMS:-all wrong00 wrong05 wrong20}
export OMP_NUM_THREADS=1

learn() { # SEED ARM STAGES...
  local seed=$1 arm=$2 run=$folder/seed$1/$2 labels="--labels rule --wrong 0.${2#wrong}"
  shift 2
  [ "$arm" = all ] && labels="--labels everything"
  .venv/bin/python runs/stated_annotator.py "$folder/seed$seed/demonstrations" "$run/episodes" $labels \
    --seed "$seed"
  .venv/bin/softflow train softflow-plus --dataset "$run/episodes" --run "$run" --seed "$seed" --stages "$@" \
    --imitation.num-updates 2000 --critic-warmup.num-updates 1500 --offline-rl.num-updates 500 \
    --eval-episodes 50 --num-workers 1
}

for stages in "imitation" "imitation critic_warmup offline_rl"; do
  for seed in ${SEEDS:-0 1 2 3}; do
    mkdir -p "$folder/seed$seed"
    .venv/bin/softflow collect --out "$folder/seed$seed/demonstrations" --env cube-single --seed "$seed" --workers 1
    for arm in $arms; do
      learn "$seed" "$arm" $stages >> "$folder/seed$seed/$arm.log" 2>&1
    done
  done
done
for arm in $arms; do
  echo "$arm"
  .venv/bin/python runs/table.py "$folder"/seed?/"$arm"
done
