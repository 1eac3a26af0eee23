"""What a decision sees: the newest observations, the first one repeated at the start."""

from __future__ import annotations

import numpy as np

from softflow.control.observation_history import ObservationHistory


def seen(number: int) -> dict[str, np.ndarray]:
    return {"observation.state": np.array([number, -number], np.float32)}


def test_oldest_first_and_the_first_repeated() -> None:
    history = ObservationHistory(3, seen(0))
    told: list[list[float]] = []
    for number in range(1, 5):
        told.append(history.stacked()["observation.state"][:, 0].tolist())
        history.add(seen(number))
    assert told == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]
    assert history.stacked()["observation.state"].shape == (3, 2)


def test_of_length_one_only_the_newest_counts() -> None:
    history = ObservationHistory(1, seen(7))
    history.add(seen(8))
    assert history.stacked()["observation.state"].tolist() == [[8, -8]]
