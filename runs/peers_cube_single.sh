#!/usr/bin/env bash
# The table of cube-single in docs/results.md; options: runs/peers.sh.
exec "$(dirname "${BASH_SOURCE[0]}")/peers.sh" cube-single --seeds "0 1 2 3" "$@" << 'METHODS'
softflow-plus
softflow-small
qc
qc-fql
expo
rlpd
rlpd-ac
METHODS
