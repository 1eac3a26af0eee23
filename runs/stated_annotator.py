"""A stated rule plays the person who labels: recordings without outcome, and labels beside them.

    python runs/stated_annotator.py DEMONSTRATIONS OUT --labels everything
    python runs/stated_annotator.py DEMONSTRATIONS OUT --labels rule --wrong 0.05 --seed 0

OUT holds the same episodes as a robot would have recorded them: no reward, no success, cut at the
end instead of ended by the task. Of what happened only the signals are left. Then

    everything  each episode is counted as a success at its end: what one does without labels
    rule        success in the first step after which the cube's centre is within 4 cm of its place;
                otherwise nothing happened

With `--wrong`, that share of the episodes (rounded, drawn with `--seed`) gets the other outcome: a
success is said not to have happened, and where none was, one at the last step.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.robot.recorder import UNLABELLED_KEY

CUBE = slice(19, 22)
"""The cube's centre in the state of cube-single: 10 a metre, from (0.425, 0, 0) m."""
PLACE = np.array([0.75, 0.0, 0.2])
"""Where it belongs, in the same unit: (0.5, 0, 0.02) m."""
WITHIN = 0.4
"""4 cm, OGBench's own tolerance."""


def without_outcome(episode: Episode) -> Episode:
    """The episode as a recording of signals alone."""
    return replace(
        episode,
        rewards=np.zeros_like(episode.rewards),
        terminated=False,
        truncated=True,
        success=False,
        metadata=episode.metadata | {UNLABELLED_KEY: True},
    )


def success_step(episode: Episode) -> int | None:
    """The control step after which the cube first lies in its place."""
    cube = episode.observations[STATE_KEY][1:, CUBE].astype(np.float64)
    there = np.flatnonzero(np.linalg.norm(cube - PLACE, axis=1) <= WITHIN)
    return int(there[0]) if len(there) else None


def said(step: int | None, length: int, *, wrongly: bool = False) -> tuple[Event, ...]:
    """What the annotator says of an episode."""
    if wrongly:
        step = length - 1 if step is None else None
    return () if step is None else (Event(step, "success", 1.0),)


def wrong_ones(count: int, share: float, seed: int) -> set[int]:
    """Which episodes get the other outcome; with a larger share more of them, the same first."""
    order = np.random.default_rng([seed, 5]).permutation(count)
    return set(order[: round(share * count)].tolist())


def label_of(recorded: Episode, options: argparse.Namespace, *, wrongly: bool) -> Label:
    """What is said of an episode."""
    if options.labels == "everything":
        return Label("everything is a success", said(recorded.length - 1, recorded.length))
    name = f"cube within 4 cm of its place, {options.wrong:.0%} wrong"
    return Label(name, said(success_step(recorded), recorded.length, wrongly=wrongly))


def main() -> None:
    """Write the recordings, then a label each; those that are there already stay."""
    options = parsed_options()
    source = EpisodeStore.open(options.demonstrations)
    wrong = wrong_ones(len(source), options.wrong, options.seed)
    agree = 0
    with EpisodeStore.open_or_create(options.out, source.spec) as store:
        for index in range(len(source)):
            recorded = source.episode(index)
            if index >= len(store):
                store.append(without_outcome(recorded))
            if not store.labels(index):
                store.label(index, label_of(recorded, options, wrongly=index in wrong))
            agree += (success_step(recorded) is not None) == recorded.success
        successes = sum(summary.success for summary in store.summaries())
    print(
        f"{options.out}: {len(source)} episodes, {successes} labelled as successes, "
        f"{len(wrong)} of all labels wrong; the rule and the simulator agree on {agree}"
    )


def parsed_options() -> argparse.Namespace:
    """The words of the command line."""
    style = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("demonstrations", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--labels", choices=("everything", "rule"), required=True)
    parser.add_argument("--wrong", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
