#!/usr/bin/env bash
# The rehearsal of docs/results.md: a simulated arm in real time behind ROS 2 topics, `softflow robot` and
# `softflow learn`, three processes that share one folder. Each is killed -9 five times at random and started
# again; the same run learns in the simulator alone as well, and a table and a figure compare the two.
#
#     runs/robot_rehearsal.sh                  ten rounds of ten episodes on cube-single: half an hour
#     FROM=runs/mine runs/robot_rehearsal.sh   from a run of yours, with its data, its rounds, its task
#     SMALL=1 runs/robot_rehearsal.sh          two small rounds, one kill each: some minutes
#
# ROS 2 is that of .venv-ros2 (python tests/support/ros2_environment.py), or of PYTHON_ROS=...; without one the
# robot is `--env-id`, in two processes, and that is said. A killed script continues where it was.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=$PWD/.venv/bin/python
name=robot_rehearsal kills=5 every=150 demonstrations=60
options="--eval-episodes 20 --offline-rl.num-updates 200 --online-rl.num-updates 150 --online-rl.num-rounds 10 --online-rl.episodes-per-round 10"
if [ "${SMALL:-}" ]; then
  name=robot_rehearsal_small kills=1 every=40 demonstrations=16
  options="--eval-episodes 4 --imitation.num-updates 300 --critic-warmup.num-updates 100
    --offline-rl.num-updates 50 --online-rl.num-updates 20 --online-rl.num-rounds 2
    --online-rl.episodes-per-round 3"
fi
folder=runs/$name logs=runs/$name/logs exchange=$PWD/runs/$name/exchange
mkdir -p "$logs"
export OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
learns="nice -n 5 $python" # what must not be late comes first

# 1. The policy to start from: imitation of few demonstrations, with two prefix actions for the delay.
base=${FROM:-$folder/base}
if [ -z "${FROM:-}" ]; then
  $learns -m softflow collect --env cube-single --out "$base/demonstrations" --episodes "$demonstrations" --workers 1
  $learns -m softflow train softflow-plus --dataset "$base/demonstrations" --run "$base" --num-workers 1 \
    --model.chunk.prefix-length 2 --stages imitation critic_warmup offline_rl $options
fi
for copy in on_robot in_simulator; do
  [ -d "$folder/$copy" ] && continue
  rm -rf "$folder/copying"
  cp -r "$base" "$folder/copying"
  rm -rf "$folder/copying/demonstrations"
  mv "$folder/copying" "$folder/$copy"
done
env_id=$("$python" -c "
from pathlib import Path
from softflow.training.provenance import learned_from
print(learned_from(Path('$base'))['data_spec']['env_id'])")

# 2. The arm, the robot and the learner, each killed now and then, until the learner is done.
ros=${PYTHON_ROS:-$PWD/.venv-ros2/bin/python}
keep() { "$python" runs/kept_running.py "$1" "$kills" "$every" "$logs" "${@:2}" & }
if [ ! -e "$logs/learned" ]; then
  if "$ros" -c "import rclpy" 2> /dev/null; then
    export ROS_DOMAIN_ID=${ROS_DOMAIN_ID:-77} ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
    keep arm "$ros" runs/rehearsal_arm.py "$env_id" "$folder/arm.toml"
    others=$!
    until [ -e "$folder/arm.toml" ]; do sleep 0.2; done
    robot="--ros2 $folder/arm.toml"
  else
    echo "no rclpy for $ros: the robot is --env-id $env_id, without ROS 2" >&2
    ros=$python others= robot="--env-id $env_id"
  fi
  keep learner $learns -m softflow learn "$folder/on_robot" --exchange "$exchange" --env-id "$env_id"
  learner=$!
  until [ -e "$exchange/order.json" ] || ! kill -0 "$learner"; do sleep 0.2; done
  keep robot "$ros" -m softflow robot "$folder/on_robot" $robot --out "$folder/episodes" --exchange "$exchange" \
    --name arm --episodes 1000
  others="$others $!"
  trap 'kill $others $learner 2> /dev/null || true' EXIT
  wait "$learner"
  kill $others
  wait
  touch "$logs/learned"
fi

# 3. The same in the simulator alone.
$learns -c "
from pathlib import Path
from softflow.jobs.train import train
from softflow.models.checkpoint import last_checkpoint
from softflow.training.persistence import read_run_facts
from softflow.training.provenance import learned_from
run = Path('$folder/in_simulator')
config, _, _ = read_run_facts(last_checkpoint(run / 'checkpoints'))
train(learned_from(run)['dataset'], run, config)"

# 4. The table and the figure.
"$python" runs/rehearsal_table.py "$folder"
