#!/usr/bin/env bash
# The table of levers in docs/results.md: one setting of softflow-plus at a time, screened with two seeds.
# The defaults are in runs/peers_cube_single.sh; options: runs/peers.sh.
exec "$(dirname "${BASH_SOURCE[0]}")/peers.sh" cube-single --csv docs/results/levers.csv --seeds "0 1" "$@" << 'METHODS'
# what edits are worth, and how large they may be
softflow-plus --config.model.critic.edit-scale 0.0
softflow-plus --config.model.critic.edit-scale 0.1
softflow-plus --config.model.critic.edit-scale 0.4
# how the critic learns, and is asked
softflow-plus --config.model.critic.learns hl_gauss
softflow-plus --config.model.critic.combine minimum
softflow-plus --config.model.critic.num-critics 5 --config.model.critic.target-members 2
softflow-plus --config.critic-noise-std 0.1
softflow-plus --config.online-rl.target-candidates 1
softflow-plus --config.execution-candidates 32
# how far ahead values reach
softflow-plus --config.discount 0.995
softflow-plus --config.discount 0.997
# how much is learned from an episode (defaults: 400 updates a round of 5 episodes)
softflow-plus --config.online-rl.num-updates 100
softflow-plus --config.online-rl.num-updates 1200
# what is imitated
softflow-plus --config.imitation.imitates everything
softflow-plus --config.online-rl.imitates successes
# whether values move the policy or only choose
softflow-plus --config.online-rl.value-coef 1.0
# what updates draw from
softflow-plus --config.online-rl.mixing fixed
# how the policy explores
softflow-plus --config.noise-std 0.1
softflow-plus --config.sampling-std 1.0
softflow-plus --config.online-rl.collection-std 0.5
METHODS
