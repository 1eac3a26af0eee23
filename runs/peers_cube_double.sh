#!/usr/bin/env bash
# The table of cube-double-task1 in docs/results.md; options: runs/peers.sh.
exec "$(dirname "${BASH_SOURCE[0]}")/peers.sh" cube-double-task1 --seeds "0 1" "$@" << 'METHODS'
softflow-plus
qc
qc-fql
expo
rlpd
rlpd-ac
METHODS
