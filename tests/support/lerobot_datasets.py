"""Small LeRobot v2.1 datasets, written here by hand, and stores with recognisable content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.formats.importing import IMPORTED

CAMERA = "observation.images.front"
RATE = 20
HEIGHT, WIDTH = 48, 64


def shown(step: int, episode: int = 0) -> np.ndarray:
    """A frame [48, 64, 3] that tells the step and the episode."""
    pixels = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    pixels[:, 2 * step : 2 * step + 8] = 120 + 40 * episode
    return pixels


def write_v21(
    folder: Path, lengths: tuple[int, ...] = (8, 11), codec: str = "libx264", version: str = "v2.1"
) -> Path:
    """A v2.1 dataset with one camera; the dataset's folder."""
    features: dict[str, Any] = {
        "observation.state": {"dtype": "float32", "shape": [3], "names": [["a", "b", "c"]]},
        "action": {"dtype": "float32", "shape": [2], "names": {"motors": ["x", "y"]}},
        CAMERA: {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": None},
    }
    videos = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    info = {
        "codebase_version": version,
        "robot_type": "toy",
        "fps": RATE,
        "total_episodes": len(lengths),
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": videos,
        "features": features,
    }
    (folder / "meta").mkdir(parents=True)
    (folder / "meta/info.json").write_text(json.dumps(info))
    tasks = json.dumps({"task_index": 0, "task": "push"})
    (folder / "meta/tasks.jsonl").write_text(f"{tasks}\n")
    with (folder / "meta/episodes.jsonl").open("w") as file:
        for episode, length in enumerate(lengths):
            row = {"episode_index": episode, "tasks": ["push"], "length": length}
            file.write(json.dumps(row) + "\n")
            write_table(table_path(folder, episode), rows(episode, length))
            frames = [shown(step, episode) for step in range(length)]
            write_video(video_path(folder, episode), frames, codec)
    return folder


def table_path(folder: Path, episode: int) -> Path:
    return folder / f"data/chunk-000/episode_{episode:06d}.parquet"


def video_path(folder: Path, episode: int) -> Path:
    return folder / f"videos/chunk-000/{CAMERA}/episode_{episode:06d}.mp4"


def rows(episode: int, length: int) -> dict[str, np.ndarray]:
    """The columns of an episode."""
    rng = np.random.default_rng(episode)
    return {
        "observation.state": rng.normal(size=(length, 3)).astype(np.float32),
        "action": rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        "frame_index": np.arange(length),
        "episode_index": np.full(length, episode),
        "task_index": np.zeros(length, int),
    }


def write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({key: list(value) for key, value in columns.items()}), path)


def write_video(
    path: Path, frames: list[np.ndarray], codec: str = "libx264", missing: tuple[int, ...] = ()
) -> None:
    """One key frame and B-frames: the hardest file to seek in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for step, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = step
            if step not in missing:
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def change_info(dataset: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change meta/info.json."""
    file = dataset / "meta/info.json"
    info = json.loads(file.read_text())
    change(info)
    file.write_text(json.dumps(info))


def change_table(dataset: Path, episode: int, key: str, column: pa.Array | None) -> None:
    """Replace or add a column, or remove it."""
    path = table_path(dataset, episode)
    table = pq.read_table(path)
    if key in table.column_names:
        table = table.drop_columns([key])
    pq.write_table(table if column is None else table.append_column(key, column), path)


def decoded(path: Path) -> np.ndarray:
    """Every frame of a video, one after the other, without seeking."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def episode_of(spec: DataSpec, length: int, seed: int, success: bool, **metadata: Any) -> Episode:
    """An episode of random, but valid content; pictures change smoothly."""
    rng = np.random.default_rng(seed)
    observations: dict[str, np.ndarray] = {
        key: rng.normal(size=(length + 1, *spec.observation_shapes[key])).astype(np.float32)
        for key in spec.state_keys
    }
    for key in spec.image_keys:
        height, width, _ = spec.observation_shapes[key]
        ramp = (
            np.arange(width)[None, None, :, None] + 8 * np.arange(length + 1)[:, None, None, None]
        )
        picture = np.broadcast_to(ramp + 10 * seed, (length + 1, height, width, 3))
        observations[key] = (picture % 200).astype(np.uint8)
    return Episode(
        observations,
        rng.uniform(-1, 1, (length, spec.action_dim)).astype(np.float32),
        rng.normal(size=length).astype(np.float32),
        terminated=success,
        truncated=not success,
        success=success,
        metadata={"seed": seed, "task": f"task {seed % 2}", **metadata},
    )


def store_with(path: Path, spec: DataSpec, episodes: list[Episode]) -> EpisodeStore:
    """A new store."""
    store = EpisodeStore.create(path, spec)
    for episode in episodes:
        store.append(episode)
    return store


def require_same(ours: Episode, theirs: Episode, pixels_apart: int = 0) -> None:
    """Equal in everything but where they were last imported from; pictures but for the last within
    `pixels_apart` grey levels."""
    assert ours.observations.keys() == theirs.observations.keys()
    for key, value in ours.observations.items():
        other = theirs.observations[key]
        assert value.dtype == other.dtype
        apart = np.abs(value.astype(np.float64) - other)
        assert apart.max() <= (pixels_apart if value.dtype == np.uint8 else 0), key
        assert apart[-1].max() == 0, key
    np.testing.assert_array_equal(ours.actions, theirs.actions)
    np.testing.assert_array_equal(ours.rewards, theirs.rewards)
    for name in ("terminated", "truncated", "success"):
        assert getattr(ours, name) == getattr(theirs, name), name
    ours_said, theirs_said = ours.metadata.copy(), theirs.metadata.copy()
    for said in (ours_said, theirs_said):
        said.pop(IMPORTED, None)
    assert ours_said == theirs_said
