#!/usr/bin/env bash
# The table of levers in docs/results.md: one setting of softflow-plus at a time, screened with two seeds.
# The defaults are in runs/peers_cube_single.sh; options: runs/peers.sh.
exec "$(dirname "${BASH_SOURCE[0]}")/peers.sh" cube-single --csv docs/results/levers.csv --seeds "0 1" "$@" << 'METHODS'
# how values are learned
softflow-plus --config.model.critic.learns hl_gauss
softflow-plus --config.model.critic.combine minimum
softflow-plus --config.model.critic.num-critics 5
softflow-plus --config.critic-noise-std 0.1
softflow-plus --config.tau 0.05
softflow-plus --config.online-rl.target-candidates 1
# what is imitated
softflow-plus --config.online-rl.imitates successes
softflow-plus --config.offline-rl.imitates demonstrations
# whether values move the policy or only choose
softflow-plus --config.online-rl.value-coef 1.0 --config.online-rl.bc-coef 0.1
# how episodes are collected, and policies deployed
softflow-plus --config.online-rl.collection-std 1.0
softflow-plus --config.online-rl.collection-std 0.5 --config.online-rl.collection-candidates 16
softflow-plus --config.sampling-std 0.7 --config.execution-candidates 32
# what updates draw from, and how much is learned from an episode (default: 400 updates for 5 episodes)
softflow-plus --config.online-rl.mixing fixed
softflow-plus --config.online-rl.num-updates 100
softflow-plus --config.online-rl.num-updates 1200
softflow-plus --config.online-rl.learning-rate-decay 0.9
# how far ahead values reach
softflow-plus --config.discount 0.995
softflow-plus --config.discount 0.997
METHODS
