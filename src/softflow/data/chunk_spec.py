"""How long the decisions of a policy are, in control steps.

At control step t the policy sees the observation and P committed prefix actions a[t : t+P] and
predicts the H actions a[t+P : t+P+H]. It acts for E ≤ H steps, then decides again (Sec. IV-A;
Eq. 7 with P = 0 and E = H).
"""

from __future__ import annotations

from dataclasses import dataclass

from softflow.errors import ConfigError

MAX_STEPS = 10_000
"""The longest chunk, prefix and history: minutes of control."""


@dataclass(frozen=True)
class ChunkSpec:
    """Lengths of a decision, all in control steps.

    Args:
        chunk_length: H, actions in a predicted chunk.
        execution_horizon: E ≤ H, control steps between two decisions.
        prefix_length: P, committed actions given as context.
        history_length: observation steps seen, the current one included.

    Raises:
        ConfigError: a length is out of range.
    """

    chunk_length: int
    execution_horizon: int
    prefix_length: int = 0
    history_length: int = 1

    def __post_init__(self) -> None:
        for name, least in (
            ("chunk_length", 1),
            ("execution_horizon", 1),
            ("prefix_length", 0),
            ("history_length", 1),
        ):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"ChunkSpec.{name} is {value!r}; give an integer ≥ {least}.")
            if value > MAX_STEPS:
                raise ConfigError(f"ChunkSpec.{name} is {value:,}; give at most {MAX_STEPS:,}.")
        if self.execution_horizon > self.chunk_length:
            raise ConfigError(
                f"ChunkSpec.execution_horizon is {self.execution_horizon}, above chunk_length "
                f"{self.chunk_length}; a policy cannot execute more actions than it predicts."
            )
