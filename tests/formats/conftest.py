"""Datasets and stores that several files of tests begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from lerobot_datasets import write_v21
from robomimic_stores import RICH, episode_of

from softflow.data.episode_store import EpisodeStore


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A LeRobot v2.1 dataset of two episodes."""
    return write_v21(tmp_path / "dataset")


@pytest.fixture
def rich_store(tmp_path: Path) -> EpisodeStore:
    """Success without a reward, failure, dense rewards above 1, nested and empty metadata."""
    metadata = {"operator": "anna", "events": [{"step": 3, "value": 0.1}], "note": "zlib+base64:é"}
    with EpisodeStore.create(tmp_path / "rich", RICH) as store:
        store.append(episode_of(RICH, 5, 0, metadata=metadata))
        won = {"terminated": True, "truncated": False, "success": True}
        store.append(episode_of(RICH, 1, 1, **won, metadata={"filter_keys": ["anna", "short"]}))
        store.append(episode_of(RICH, 7, 2, terminated=True, truncated=False))
        store.append(episode_of(RICH, 3, 3, success=True))
    return EpisodeStore.open(tmp_path / "rich")
