"""The measuring sticks by name: a new one is a file in `sticks` and a line here."""

from __future__ import annotations

from benchmarks.peers.method import MethodConfig
from benchmarks.peers.softflow_run import softflow_config
from benchmarks.peers.sticks.expo import ExpoConfig
from benchmarks.peers.sticks.qc import QcConfig
from benchmarks.peers.sticks.qc_fql import QcFqlConfig
from benchmarks.peers.sticks.rlpd import RlpdConfig
from softflow.presets import PRESETS
from softflow.training.config import TrainingConfig

METHODS: dict[str, MethodConfig | TrainingConfig] = {
    "qc": QcConfig(),
    "qc-fql": QcFqlConfig(),
    "expo": ExpoConfig(),
    "rlpd": RlpdConfig(chunk_length=1),
    "rlpd-ac": RlpdConfig(),
    **{f"softflow-{name.removeprefix('softflow-')}": softflow_config(name) for name in PRESETS},
}
"""The defaults of each; every one of them is an option of the command."""
