#!/usr/bin/env bash
# The table of levers in docs/results.md: one setting of softflow-plus at a time, screened with two seeds.
# The defaults are in runs/peers_cube_single.sh; options: runs/peers.sh.
# As QC learns: everything is imitated, values choose, critics by squared error.
broad=(softflow-plus --config.model.critic.learns squared_error --config.model.critic.combine mean
  --config.tau 0.005 --config.critic-noise-std 0.0 --config.offline-rl.num-updates 2000
  --config.offline-rl.imitates everything --config.offline-rl.value-coef 0.0 --config.offline-rl.bc-coef 1.0
  --config.offline-rl.target-candidates 4 --config.online-rl.imitates everything --config.online-rl.bc-coef 1.0
  --config.online-rl.target-candidates 4 --config.online-rl.mixing by_size --config.online-rl.offline-weight 1.0
  --config.online-rl.learning-rate-decay 0.0)
exec "$(dirname "${BASH_SOURCE[0]}")/peers.sh" cube-single --csv docs/results/levers.csv --seeds "0 1" "$@" << METHODS
# how far ahead values reach
softflow-plus --config.discount 0.995
softflow-plus --config.discount 0.997
# how much is learned from an episode (defaults: 400 updates a round of 5 episodes)
softflow-plus --config.online-rl.num-updates 100
softflow-plus --config.online-rl.num-updates 1200
# what holds the policy to what was seen
softflow-plus --config.online-rl.imitates demonstrations
# whether values move the policy or only choose
softflow-plus --config.online-rl.value-coef 1.0
softflow-plus --config.online-rl.value-coef 1.0 --config.online-rl.bc-coef 0.03
softflow-plus --config.offline-rl.value-coef 0.0
# what updates draw from
softflow-plus --config.online-rl.mixing by_size
# how the critic is asked
softflow-plus --config.model.critic.num-critics 5
softflow-plus --config.model.critic.combine mean
softflow-plus --config.critic-noise-std 0.0
softflow-plus --config.online-rl.target-candidates 4
softflow-plus --config.execution-candidates 32
# how the policy explores
softflow-plus --config.noise-std 0.1
softflow-plus --config.sampling-std 1.0
softflow-plus --config.online-rl.collection-std 0.7 --config.online-rl.collection-candidates 32
# … and learns as QC does
${broad[*]} --config.online-rl.collection-std 0.7 --config.online-rl.collection-candidates 32
${broad[*]} --config.online-rl.collection-std 0.5 --config.online-rl.collection-candidates 16
METHODS
