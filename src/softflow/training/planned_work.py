"""What a run still has to do, so that it can be told how long that takes."""

from __future__ import annotations

from collections.abc import Sequence

from softflow.training.config import STAGES, StageName, TrainingConfig
from softflow.training.run_folder import Position

EVALUATE, COLLECT, LEARN = "evaluate", "collect", "learn"
"""Kinds of work of which there are many pieces; the updates of other stages are called as these."""


def title_of(stage: StageName, first: int, stop: int) -> str:
    """What the updates [first, stop) of a stage are called: those of online RL are a round's."""
    if stage == "online_rl":
        return f"round {first // max(stop - first, 1) + 1}: {LEARN}"
    return stage.replace("_", " ")


def planned_work(
    config: TrainingConfig, stages: Sequence[StageName], position: Position, online_episodes: int
) -> dict[str, int]:
    """Kind of work -> how many updates or episodes of it are ahead.

    Args:
        config: of the run.
        stages: that it was asked for.
        position: how far it has come.
        online_episodes: how many it has collected.
    """
    ahead: list[StageName] = [s for s in STAGES if s in stages and not position.is_past(s)]
    work = {EVALUATE: len(ahead) * config.eval_episodes}
    for stage in ahead:
        done = position.update_step if position.stage == stage else 0
        if stage == "online_rl":
            online = config.online_rl
            total = online.num_rounds * online.num_updates
            rounds = online.num_rounds - done // max(online.num_updates, 1)
            work[EVALUATE] += rounds * config.round_eval_episodes
            wanted = online.num_rounds * online.episodes_per_round
            work[COLLECT] = max(0, wanted - online_episodes)  # robots may have sent more
            work[LEARN] = total - done
        else:
            work[title_of(stage, 0, 0)] = getattr(config, stage).num_updates - done
    return work
