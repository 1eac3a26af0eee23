"""The stages as people call them, and the stage that a file's label belongs to."""

from __future__ import annotations

STAGES: dict[str, str] = {
    "imitation": "Imitation",
    "critic_warmup": "Critic warm-up",
    "offline_rl": "Offline RL",
    "online_rl": "Online RL",
}
"""The stages in their order (paper IV-D, Alg. 3), with the names shown to people."""


def stage_of(label: str) -> str:
    """The stage of a label: `online_rl_round_03` belongs to `online_rl`; unknown ones to none."""
    return next((stage for stage in STAGES if label.startswith(stage)), "")


def label_words(label: str) -> str:
    """What people call a stage or a round: online_rl_round_03 is Online RL, round 3."""
    stage = stage_of(label)
    rest = label.removeprefix(stage).lstrip("_.").split("_")
    if not stage or label == stage:
        return STAGES.get(stage, label)
    number = rest[-1].lstrip("0") if rest[-1].isdigit() else rest[-1]
    return f"{STAGES[stage]}, {' '.join([*rest[:-1], number])}"


def known_stage(stage: str, label: str) -> str:
    """The stage that a file tells, if there is one of that name; else the one its label begins."""
    return stage if stage in STAGES else stage_of(label)
