#!/usr/bin/env bash
# What labels are worth, and what wrong ones cost: the table in docs/results.md.
#
#     runs/label_to_policy.sh                        4 seeds, 2 to 3 minutes a policy on a free core
#     SEEDS="0 1" ARMS="all wrong00" runs/label_to_policy.sh        fewer
#
# Demonstrations of mixed quality lose their outcome; a stated rule (runs/stated_annotator.py) then
# plays the person who labels. The arms, each trained from the same recordings:
#     all      without labels: every episode is counted as a success at its end
#     wrong00  the rule's labels        wrong05, wrong20  5 % and 20 % of them say the other outcome
# Three stages with half of softflow-plus's updates, no online RL: the environment would reward by itself. A killed script continues where
# it was. A run is FOLDER/seedS/ARM, its progress FOLDER/seedS/ARM.log; FOLDER is runs/label_to_policy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${FOLDER:-runs/label_to_policy}
export OMP_NUM_THREADS=1
for seed in ${SEEDS:-0 1 2 3}; do
  demonstrations=$folder/seed$seed/demonstrations
  mkdir -p "$folder/seed$seed"
  .venv/bin/softflow collect --out "$demonstrations" --env cube-single --seed "$seed" --workers 1
  for arm in ${ARMS:-all wrong00 wrong05 wrong20}; do
    run=$folder/seed$seed/$arm labels="--labels rule --wrong 0.${arm#wrong}"
    [ "$arm" = all ] && labels="--labels everything"
    { .venv/bin/python runs/stated_annotator.py "$demonstrations" "$run/episodes" $labels --seed "$seed" &&
      .venv/bin/softflow train softflow-plus --dataset "$run/episodes" --run "$run" --seed "$seed" \
        --stages imitation critic_warmup offline_rl --imitation.num-updates 2000 \
        --critic-warmup.num-updates 1500 --offline-rl.num-updates 500 --eval-episodes 50 --num-workers 1
    } >> "$run.log" 2>&1
  done
done
for arm in ${ARMS:-all wrong00 wrong05 wrong20}; do
  echo "$arm"
  .venv/bin/python runs/table.py "$folder"/seed?/"$arm"
done
