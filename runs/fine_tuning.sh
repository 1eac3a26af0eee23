#!/usr/bin/env bash
# The two tables of fine-tuning in docs/results.md: what 20 new successful demonstrations make of a trained policy of
# cube-single. Either a new operator shows the same task (swift: four times as fast as those it has learned from), or
# cube and goal are in other places (task1). One policy, a new set of 20 for every seed.
#
#     runs/fine_tuning.sh                              both, seeds 0 1 2; one thread
#     SEEDS="3 4" STORIES="swift task4" runs/fine_tuning.sh    others
#
# Each measures, after so many updates of imitation, the policy tuned (100) and from scratch (1000); then as it was before
# (0), with as few from scratch (100), and tuned longer (400). A killed script continues where it was. Runs are in
# runs/fine_tuning, their progress in runs/fine_tuning/log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=runs/fine_tuning
mkdir -p "$folder"
export OMP_NUM_THREADS=1

softflow() { .venv/bin/python -m softflow "$@" >> "$folder/log" 2>&1; }
collect() { # TASK SEED EPISODES STORE [FLAGS]
  local task=$1 seed=$2 episodes=$3 store=$4
  shift 4
  softflow collect --env "$task" --seed "$seed" --episodes "$episodes" --out "$store" --workers 1 "$@"
}

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

measured() { # DATA RUN SEED UPDATES [FLAGS]
  imitate "$@" --eval-episodes 50
}

demonstrated() { # STORY SEED FOLDER
  case $1 in
    swift) collect cube-single "$((1000 + $2))" 25 "$3/demonstrations" --operator swift ;;
    *) collect "cube-single-$1" "$((1000 + $2))" 50 "$3/demonstrations" ;;
  esac
  first_successes "$3/demonstrations" "$3/twenty" 20
}

base=$folder/seed0
collect cube-single 0 120 "$base/demonstrations"
imitate "$base/demonstrations" "$base/base" 0 4000 --eval-episodes 0
for story in ${STORIES:-swift task1}; do
  for seed in ${SEEDS:-0 1 2}; do
    new=$folder/$story/seed$seed
    demonstrated "$story" "$seed" "$new"
    measured "$new/twenty" "$new/tuned" "$seed" 100 --from "$base/base"
    measured "$new/twenty" "$new/scratch" "$seed" 1000
  done
  for seed in ${SEEDS:-0 1 2}; do
    new=$folder/$story/seed$seed
    measured "$new/twenty" "$new/as_it_is" "$seed" 0 --from "$base/base"
    measured "$new/twenty" "$new/scratch_100" "$seed" 100
    measured "$new/twenty" "$new/tuned_400" "$seed" 400 --from "$base/base"
  done
  for name in as_it_is tuned tuned_400 scratch_100 scratch; do
    echo "$story: $name"
    .venv/bin/python runs/table.py "$folder/$story"/seed*/"$name"
  done
done
