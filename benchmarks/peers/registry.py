"""The measuring sticks by name: a new one is a file beside this one and a line here."""

from __future__ import annotations

from benchmarks.peers.expo import ExpoConfig
from benchmarks.peers.method import MethodConfig
from benchmarks.peers.qc import QcConfig
from benchmarks.peers.qc_fql import QcFqlConfig
from benchmarks.peers.rlpd import RlpdConfig
from benchmarks.peers.softflow_run import softflow_config
from softflow.presets import PRESETS
from softflow.training.config import TrainingConfig

METHODS: dict[str, MethodConfig | TrainingConfig] = {
    "qc": QcConfig(),
    "qc-fql": QcFqlConfig(),
    "expo": ExpoConfig(),
    "rlpd": RlpdConfig(chunk_length=1),
    "rlpd-ac": RlpdConfig(),
    **{f"softflow-{name}": softflow_config(name) for name in PRESETS},
}
"""The defaults of each; every one of them is an option of the command."""
