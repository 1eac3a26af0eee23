#!/usr/bin/env bash
# The table of adroit-door in docs/results.md; options: runs/peers.sh. Demonstrations are the 25 human recordings,
# the same store for every seed: data/peers/adroit-door/seedN.
exec "$(dirname "${BASH_SOURCE[0]}")/peers.sh" adroit-door --seeds "0 1 2 3" "$@" << 'METHODS'
softflow-plus
qc
qc-fql
expo
rlpd
rlpd-ac
METHODS
