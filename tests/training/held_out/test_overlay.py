"""Chunks predicted along recorded episodes lie where they belong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from point_world import tiny_config

from softflow.data.chunk_spec import ChunkSpec
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training.config import DataConfig
from softflow.training.held_out.overlay import (
    MAX_CHUNKS,
    chunk_starts,
    window_numbers,
    write_overlay,
)
from softflow.training.run import Run

RunMaker = Callable[..., Run]


@pytest.mark.parametrize("prefix_length", [0, 1, 3])
def test_windows_of_the_starts(make_run: RunMaker, prefix_length: int) -> None:
    """What the data recorded in those windows is what the episode holds from there on."""
    store = make_run().data.store
    dataset = ChunkDataset(store, ChunkSpec(4, 3, prefix_length))
    first = 0
    for number in range(4):
        actions = dataset.episode(number).actions
        starts = chunk_starts(dataset, len(actions))
        batch = dataset.gather(first + window_numbers(dataset, starts))
        for row, start in enumerate(starts):
            here = batch.actions[row, : min(4, len(actions) - start)].numpy()
            np.testing.assert_array_equal(here, actions[start : start + 4])
        first += int(dataset.episode_windows[number])


def test_long_episodes_show_so_many(make_run: RunMaker) -> None:
    dataset = make_run().data.everything
    assert chunk_starts(dataset, 12).tolist() == [0, 4, 8]
    starts = chunk_starts(dataset, 400)
    assert len(starts) <= MAX_CHUNKS
    assert set(np.diff(starts)) == {16}


@pytest.mark.parametrize("share", [0.2, 0.0])
def test_what_is_written(make_run: RunMaker, share: float) -> None:
    config = tiny_config(data=DataConfig(held_out=share), eval_episodes=0)
    run = make_run(replace(config, sampling_std=0.0))
    write_overlay(run, "imitation")
    told = json.loads((run.folder / "diagnostics/chunks/imitation.json").read_text())
    assert told["held_out"] == (share > 0)
    dataset = run.data.held_out if share else run.data.demonstrations
    assert [e["episode"] for e in told["episodes"]] == list(dataset.episode_indices[:2])
    for number, episode in enumerate(told["episodes"]):
        recorded = dataset.episode(number).actions
        np.testing.assert_allclose(episode["actions"], recorded, rtol=1e-4)
        ends = [chunk["start"] + len(chunk["actions"]) for chunk in episode["chunks"]]
        assert max(ends) <= len(recorded)
    write_overlay(run, "critic_warmup")
    assert not (run.folder / "diagnostics/chunks/critic_warmup.json").exists(), "same policy"
