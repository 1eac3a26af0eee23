"""An imported RoboMimic file is labelled like any other data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Label
from softflow.formats.importing import import_into
from softflow.formats.robomimic.reading import RobomimicSource
from softflow.labelling.event_kinds import READY_MADE
from softflow.labelling.server.episode_rows import EpisodeRows
from softflow.labelling.server.frames import FrameBlocks
from softflow.labelling.server.store_episodes import StoreEpisodes
from softflow.utils.progress import SilentProgress

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize(
    ("name", "cameras"),
    [("robomimic_0_3_0_lift_image.hdf5", 1), ("robosuite_1_5_2_lift.hdf5", 0)],
)
def test_a_file_is_seen_and_labelled(name: str, cameras: int, tmp_path: Path) -> None:
    import_into(RobomimicSource(FIXTURES / name), tmp_path / "store", SilentProgress())
    episodes = StoreEpisodes(tmp_path / "store", READY_MADE["success"])
    rows = EpisodeRows(episodes)
    row = rows.changed(0)["rows"][0]
    recording = rows.recording(row.name)
    assert len(episodes.spec.image_keys) == cameras
    assert (len(FrameBlocks().block(recording, 0, 16)) > 500) == bool(cameras)
    rows.save(row.name, recording.digest, Label("anna", ()))
    assert rows.changed(0)["rows"][0].outcome == "none"
    assert not EpisodeStore.open(tmp_path / "store").summary(0).success
