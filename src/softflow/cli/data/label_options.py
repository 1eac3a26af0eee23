"""The options of `softflow data propose` and `agreement`; the docstrings are the text of --help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from softflow.cli.words import StorePath


@dataclass(frozen=True)
class Propose:
    """Suggest events for episodes, which a person then accepts or corrects in `softflow label`.

    Proposals lie beside the labels and count for nothing until then. The same command says anew
    what it said before.
    """

    store: StorePath
    """The episode store; it may be in use."""
    by: Annotated[str, tyro.conf.arg(name="with")]
    """What proposes: cube-quarter-turn or gripper-lifted, rules on signals; classifier, trained now
    from the labels that are there; vlm, a vision-language model behind HTTP; or a function of your
    own, module:function."""
    set: tuple[str, ...] = ()
    """Its settings, NAME=VALUE ..., such as yaw=observation.state[3]; a wrong name shows all."""
    episodes: tuple[int, ...] = ()
    """Only these; by default every episode that has no label."""
    all: bool = False
    """Every episode, labelled or not."""
    measure: bool = False
    """Write nothing, but hold what a rule would propose against the labels that are there."""
    show: int = 20
    """Lines to print."""


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree: Cohen's kappa of outcomes, times of events, the disagreements."""

    store: StorePath
    """The episode store; it is only read."""
    match_s: float = 1.0
    """Events of one kind within this time (s) of each other are the same event."""
    show: int = 20
    """Disagreements to print."""
