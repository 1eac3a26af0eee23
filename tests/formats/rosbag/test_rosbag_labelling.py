"""An imported bag is labelled like any other data set."""

from __future__ import annotations

from pathlib import Path

from strange_bags import MAPPING

from softflow.data.labels import Label
from softflow.formats.importing import import_into
from softflow.formats.rosbag.reading import RosbagSource
from softflow.labelling.event_kinds import READY_MADE
from softflow.labelling.server.episode_rows import EpisodeRows
from softflow.labelling.server.frames import FrameBlocks
from softflow.labelling.server.store_episodes import StoreEpisodes
from softflow.utils.progress import SilentProgress


def test_a_bag_is_seen_and_labelled(mcap: Path, tmp_path: Path) -> None:
    import_into(RosbagSource(mcap, MAPPING), tmp_path / "store", SilentProgress())
    rows = EpisodeRows(StoreEpisodes(tmp_path / "store", READY_MADE["scissors"]))
    (row,) = rows.changed(0)["rows"]
    recording = rows.recording(row.name)
    assert (row.state, row.length) == ("unlabelled", recording.summary.length)
    assert len(FrameBlocks().block(recording, 0, 16)) > 500
    cut = rows.episodes.kinds.named("cut").at(row.length - 1)
    rows.save(row.name, recording.digest, Label("anna", (cut,)))
    assert rows.changed(0)["rows"][0].outcome == "success"
