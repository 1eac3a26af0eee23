"""Command lines that are wrong in one way each, the corpus of `test_bad_command_lines.py`."""

from __future__ import annotations

TRAIN = "train small --dataset {store} --run {new}"

COMMANDS = """
nonsense
--nonsense
train --nonsense
TRAIN small
data nonsense
data import nonsense {file}
data export nonsense {store} {new}
train
train small
train small --dataset {store}
train small --run {new}
train nonsense --dataset {store} --run {new}
train small extra --dataset {store} --run {new}
train small --dataset {store} --run {new} --from {missing}
train small --dataset {store} --run {new} --from {store}
train small --dataset {store} --run {new} --from {file}
train small --dataset {store} --run {new} --from {pipe}
train small --dataset {store} --run {new} --keep-checkpoints 0
train small --dataset {store} --run {new} --keep-checkpoints x
evaluate
evaluate {missing}
evaluate {file}
evaluate {folder}
evaluate {store}
evaluate {folder} {folder}
report
report {missing}
report {file}
report {file}/inside
collect
collect --out
data inspect
data inspect {missing}
data inspect {file}
data inspect {folder}
data inspect {store} {store}
data inspect {store} --episode 99
data inspect {store} --episode -1
data inspect {store} --episode 1.5
data inspect {store} --episode 99999999999999999999999999999999
data validate {store} --max-rate nonsense
data validate {store} --max-rate action=nan
data validate {store} --max-rate action=-1
data validate {store} --max-rate action[99]=1
data validate {store} --max-rate action[x]=1
data validate {store} --max-rate nothing=1
data validate {store} --max-rate =1
data validate {store} --usual-sigmas nan
data validate {store} --usual-sigmas -1
data validate {store} --frozen-s nan
data validate {store} --frozen-s -1
data validate {store} --idle-s -1
data validate {store} --idle-s nan
data validate {store} --min-length x
data validate {store} --min-length -1
data validate {store} --ignore nonsense
data validate {store} --show x
data validate {store} --json {folder}
data validate {store} --json {missing}/file.json
data stats {missing}
data stats {store} --json {folder}
data merge
data merge {new}
data merge {new} {missing}
data merge {store} {store}
data merge {file} {store}
data filter {store}
data filter {store} {new} --success --failure
data filter {store} {new} --where nonsense
data filter {store} {new} --where =
data filter {store} {new} --min-length x
data filter {store} {new} --min-length -1
data filter {store} {new} --min-length 5 --max-length 4
data filter {store} {file}
data filter {missing} {new}
data relabel {store}
data relabel {store} --clear --success-at-end
data relabel {store} --table {missing}
data relabel {store} --table {folder}
data relabel {store} --table {file}
data relabel {store} --table {pipe}
data inspect {pipe}
data validate {pipe}
data merge {new} {pipe}
data import robomimic {pipe} --out {new}
data import lerobot {pipe} --out {new}
data import minari {pipe} --out {new}
data import d4rl {pipe} --out {new}
data import rosbag {pipe} --out {new}
data import rosbag {folder} --out {new} --mapping {pipe}
data export lerobot {pipe} {new}
evaluate {pipe}
report {pipe}
train small --dataset {pipe} --run {new}
train small --dataset {store} --run {pipe}
collect --out {pipe} --workers 1
data relabel {store} --success-when nonsense
data relabel {store} --success-when observation.state[99]>0 --annotator a
data relabel {store} --success-when observation.state[0]>nan --annotator a
data relabel {store} --success-when observation.state[0]>__import__('os') --annotator a
data relabel {store} --success-at-end
data relabel {store} --success-at-end --annotator a --reward nan
data relabel {store} --success-at-end --annotator a --reward 1e39
data relabel {store} --success-when observation.state[0]>-99 --annotator a --reward -1e39
data relabel {store} --success-at-end --annotator a --reward inf
data relabel {store} --success-at-end --annotator a --episodes 99
data relabel {store} --success-at-end --annotator a --episodes -1
data relabel {store} --success-when observation.state[0]>0 --annotator a --hold-s nan
data relabel {store} --success-when observation.state[0]>0 --annotator a --hold-s -1
data relabel {store} --undo
data plot {store} --lags 0
data plot {store} --lags -5
data plot {store} --lags 1000000
data plot {store} --out {folder}
data plot {store} --out {missing}/page.html
data import robomimic {missing} --out {new}
data import robomimic {file} --out {new}
data import robomimic {folder} --out {new}
data import robomimic {file}
data import robomimic {file} --check --image-size 0 0
data import robomimic {file} --out {new} --image-size -1 5
data import robomimic {file} --out {new} --image-size 1000000 1000000
data import robomimic {file} --out {new} --control-hz nan
data import robomimic {file} --out {new} --control-hz -1
data import lerobot {file} --out {new}
data import lerobot {folder} --out {new}
data import minari {file} --out {new}
data import d4rl {file} --out {new} --max-episode-steps 0
data import rosbag {folder} --out {new}
data import rosbag {folder} --out {new} --mapping {missing}
data import rosbag {folder} --out {new} --mapping {file}
data import rosbag {folder} --report --check --mapping {file}
data import lerobot {folder} --unlabelled maybe --out {new}
data export lerobot {store}
data export lerobot {missing} {new}
data export robomimic {missing} {new}
data export lerobot {store} {new} --cameras-as gif
collect --out {new} --env nonsense
collect --out {new} --env os:abort
collect --out {new} --env cube-single-task99
collect --out {new} --episodes 0
collect --out {new} --episodes -5
collect --out {new} --episodes 1e3
collect --out {new} --episodes nan
collect --out {new} --episodes 1000000000000
collect --out {new} --workers 0
collect --out {new} --workers 1000000
collect --out {new} --seed -1
collect --out {new} --seed 99999999999999999999999999
collect --out {new} --image-size 0 0
collect --out {new} --image-size 100000 100000
collect --out {new} --image-size 84
collect --out {file} --workers 1
evaluate {store} --episodes 0
evaluate {store} --episodes -1
evaluate {store} --episodes 1000000000
evaluate {store} --workers 0
evaluate {store} --workers 99999
evaluate {store} --seed -1
evaluate {store} --seed 99999999999999999999
evaluate {store} --candidates -1
evaluate {store} --candidates 1000000000
evaluate {store} --rule coin
evaluate {store} --policy
demo --demonstrations 0 --run {new}
demo --demonstrations 1000000000 --run {new}
demo --env os:abort --run {new}
demo --device nonsense --tau 2 --run {new}
train small --dataset {missing} --run {new}
train small --dataset {file} --run {new}
train small --dataset {folder} --run {new}
train small --dataset {unreadable} --run {new}
TRAIN --stages
TRAIN --stages nonsense
TRAIN --stages imitation nonsense
TRAIN --policy nonsense
TRAIN --policy os:abort
TRAIN --policy :
TRAIN --policy a.b.c:D
TRAIN --critic nonsense
TRAIN --encoder nonsense
TRAIN --image resnet18
TRAIN --encoder mixed --image nonsense
TRAIN --encoder mixed --model.encoder.cameras nonsense
TRAIN --encoder mixed --model.encoder.states nonsense
TRAIN --encoder mixed --model.encoder.image.finetune nonsense
TRAIN --encoder mixed --model.encoder.image.resize 0 0
TRAIN --data.augmentation.shift -1
TRAIN --data.augmentation.colour-jitter nan
TRAIN --env nonsense
TRAIN --env os:abort
TRAIN --discount 0
TRAIN --discount 1.5
TRAIN --discount nan
TRAIN --discount -inf
TRAIN --discount x
TRAIN --tau 0
TRAIN --tau nan
TRAIN --noise-std -1
TRAIN --noise-std inf
TRAIN --noise-std nan
TRAIN --critic-noise-std -1
TRAIN --sampling-std nan
TRAIN --weight-decay inf
TRAIN --seed -1
TRAIN --seed 99999999999999999999
TRAIN --seed 0.5
TRAIN --num-workers 0
TRAIN --num-workers 1000000
TRAIN --eval-episodes -1
TRAIN --eval-episodes 10000000
TRAIN --round-eval-episodes 10000000000000000
TRAIN --execution-candidates 0
TRAIN --execution-candidates 1000000000
TRAIN --checkpoint-interval-s nan
TRAIN --checkpoint-interval-s -1
TRAIN --imitation.num-updates -1
TRAIN --imitation.num-updates 99999999999999999999
TRAIN --imitation.batch-size 0
TRAIN --imitation.batch-size 1000000000
TRAIN --imitation.learning-rate 0
TRAIN --imitation.learning-rate nan
TRAIN --imitation.learning-rate inf
TRAIN --imitation.dropout 1
TRAIN --imitation.dropout nan
TRAIN --imitation.learning-rate-decay 2
TRAIN --critic-warmup.target-candidates 0
TRAIN --critic-warmup.target-candidates 100000000
TRAIN --offline-rl.bc-coef -1
TRAIN --offline-rl.bc-coef nan
TRAIN --offline-rl.actor-candidates 0
TRAIN --offline-rl.actor-candidates 65536 --offline-rl.batch-size 1000000
TRAIN --online-rl.num-rounds -1
TRAIN --online-rl.num-rounds 9999999999
TRAIN --online-rl.episodes-per-round 0
TRAIN --online-rl.episodes-per-round 9999999999
TRAIN --online-rl.offline-ratio 1.5
TRAIN --online-rl.offline-ratio nan
TRAIN --online-rl.bc-decay 0
TRAIN --model.chunk.chunk-length 0
TRAIN --model.chunk.chunk-length 100000000
TRAIN --model.chunk.execution-horizon 99
TRAIN --model.chunk.prefix-length -1
TRAIN --model.chunk.prefix-length 1000000000
TRAIN --model.chunk.history-length 0
TRAIN --model.chunk.history-length 1000000000
TRAIN --model.policy.num-layers 0
TRAIN --model.policy.num-layers 1000000
TRAIN --model.policy.dim 7
TRAIN --model.policy.dim 1000000000
TRAIN --model.policy.num-heads 0
TRAIN --model.policy.mlp-dim 100000000000
TRAIN --model.policy.dim 16384 --model.policy.num-layers 256
TRAIN --model.policy.split-seed -1
TRAIN --model.policy.split-seed 99999999999999999999
TRAIN --model.encoder.token-dim 65
TRAIN --model.encoder.state-tokens 0
TRAIN --model.encoder.state-tokens 1000000
TRAIN --model.critic.num-bins 2
TRAIN --model.critic.num-bins 1000000000
TRAIN --model.critic.num-critics 0
TRAIN --model.critic.num-critics 100000
TRAIN --model.critic.num-layers 100000
TRAIN --model.critic.dropout 2
TRAIN --model.critic.dropout nan
TRAIN --model.actions.delta 0
TRAIN --model.actions.delta 0 --model.actions.delta-state 99
TRAIN --model.actions.delta -1 --model.actions.delta-state 0
TRAIN --model.actions.quaternion xwyz
TRAIN --data.weights nonsense
TRAIN --data.weights teleop=nan
TRAIN --data.weights teleop=-1
TRAIN --data.weights teleop=1 teleop=2
TRAIN --data.prefetch-workers -1
TRAIN --data.prefetch-workers 1000
"""

LINES = [line.replace("TRAIN", TRAIN) for line in COMMANDS.strip().splitlines()]
"""A word in braces is a path; every line is wrong in one way."""
