"""Configuration of a run: frozen, validated on construction, saved beside the weights."""

from softflow.training.config.data import DataConfig
from softflow.training.config.model import ModelConfig
from softflow.training.config.run import TrainingConfig
from softflow.training.config.stages import (
    STAGES,
    CriticStageConfig,
    ImitationConfig,
    OnlineConfig,
    RLConfig,
    StageConfig,
    StageName,
    WarmupConfig,
)

__all__ = [
    "STAGES",
    "CriticStageConfig",
    "DataConfig",
    "ImitationConfig",
    "ModelConfig",
    "OnlineConfig",
    "RLConfig",
    "StageConfig",
    "StageName",
    "TrainingConfig",
    "WarmupConfig",
]
