"""What one decision by Alg. 2 costs: repeated observations, shared ones, compiled networks."""

from __future__ import annotations

import copy
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measuring import Row, Section, Timings, measure
from benchmarks.synthetic import STATE_DIM, leave_identity, model_inputs
from softflow.errors import NumericalError
from softflow.models.action_selection import select_by_value
from softflow.models.critics.transformer_critic import TransformerCritic
from softflow.models.policies.flow_policy import ActionFlow, FlowPolicy
from softflow.models.value_distribution import ValueSupport
from softflow.training.config import ModelConfig
from softflow.training.learner import build_critic, build_policy


@dataclass(frozen=True)
class DecisionSize:
    """One decision.

    Attributes:
        model: sizes of the networks.
        action_dim: A; num_tokens: S, observation tokens; num_candidates: N.
    """

    model: ModelConfig
    action_dim: int = 7
    num_tokens: int = 98
    num_candidates: int = 128


class Networks:
    """A flow and a critic, and the two halves of a decision done three ways."""

    def __init__(self, size: DecisionSize, device: str) -> None:
        model = size.model
        inputs = model_inputs(model, STATE_DIM, size.action_dim)
        token_dim = model.encoder.token_dim
        torch.manual_seed(0)
        self.size = size
        self.policy = build_policy(model, inputs)
        self.critic = build_critic(model, inputs, ValueSupport(0.0, 1.0), self.policy)
        for module in (self.policy, self.critic):
            leave_identity(module)
            module.eval().requires_grad_(False).to(device)
        self.tokens = torch.randn(1, size.num_tokens, token_dim, device=device)
        self.latents = self.flow.draw_latents(1, size.num_candidates, 0.7)
        self.candidates = self.flow.to_actions(self.latents, self.flow.condition(self.tokens))[0]

    @property
    def flow(self) -> ActionFlow:
        """The density inside the policy: observation tokens are given here, not encoded."""
        assert isinstance(self.policy, FlowPolicy)
        return self.policy.flow

    def compiled(self) -> Networks:
        """The same networks through torch.compile: each coupling's network, each critic."""
        other = copy.copy(self)
        other.policy, other.critic = copy.deepcopy(self.policy), copy.deepcopy(self.critic)
        for coupling in other.flow.couplings:
            coupling.network.compile()  # type: ignore[operator]
        for member in other.critic.members:
            member.compile()
        return other

    def sample(self) -> Tensor:
        """Candidates [1, N, H, A], the observation's part computed once."""
        return self.flow.to_actions(self.latents, self.flow.condition(self.tokens))[0]

    def score(self) -> Tensor:
        """Values [1, N] of fixed candidates, the observation's part computed once."""
        return self.critic.value(self.tokens, self.candidates)

    def decide(self) -> Tensor:
        """The chosen chunk [1, H, A] by the function the product calls."""
        generator = torch.Generator(self.tokens.device).manual_seed(0)
        return select_by_value(
            self.policy,
            self.flow.condition(self.tokens),
            self.critic,
            self.tokens,
            self.size.num_candidates,
            0.7,
            generator=generator,
        ).actions

    def _repeated(self) -> Tensor:
        return self.tokens.repeat(self.size.num_candidates, 1, 1)

    def sample_naive(self) -> Tensor:
        """As `sample`, from a batch of N equal observations with one candidate each."""
        condition = self.flow.condition(self._repeated())
        return self.flow.to_actions(self.latents.transpose(0, 1), condition)[0].transpose(0, 1)

    def score_naive(self) -> Tensor:
        """As `score`, on a batch of N equal observations, each layer as PyTorch provides it."""
        return self._values_naive(self.candidates[0])[None]

    def _values_naive(self, candidates: Tensor) -> Tensor:
        """Candidates [N, H, A] -> values [N] by plain `nn.TransformerEncoderLayer`s."""
        logits: list[Tensor] = []
        for member in self.critic.members:
            assert isinstance(member, TransformerCritic)
            chunk = member.action_embed(candidates) + member.action_position
            readout = member.readout.expand(len(candidates), -1, -1)
            tokens = torch.cat([self._repeated(), chunk, readout], dim=1)
            for layer in member.layers:
                tokens = layer(tokens)
            logits.append(member.head(tokens[:, -1]))
        return self.critic.output.value(torch.stack(logits)).amin(dim=0)

    def decide_naive(self) -> Tensor:
        """As `decide`, on a batch of N equal observations."""
        generator = torch.Generator(self.tokens.device).manual_seed(0)
        tokens, num = self._repeated(), self.size.num_candidates
        latents = self.flow.draw_latents(1, num, 0.7, generator).transpose(0, 1)
        candidates = self.flow.to_actions(latents, self.flow.condition(tokens))[0].clamp(-0.9, 0.9)
        return candidates[self._values_naive(candidates[:, 0]).argmax()]


def missing_compiler(device: str) -> str:
    """Why torch.compile cannot be measured here, or the empty string."""
    if torch.device(device).type == "cpu":
        named = os.environ.get("CXX", "g++")
        if not any(shutil.which(name) for name in (named, "g++", "clang++")):
            return "not measured: no C++ compiler (g++ or clang++) on the PATH"
    return ""


@torch.no_grad()
def run(size: DecisionSize, turns: int, device: str) -> Section:
    """Rows for the whole decision and for its halves.

    Raises:
        NumericalError: the ways do not choose the same chunk.
    """
    shared = Networks(size, device)
    ways: dict[str, Networks] = {"shared": shared}
    obstacle, compile_s = missing_compiler(device), 0.0
    if not obstacle:
        start = time.perf_counter()
        compiled = shared.compiled()
        try:
            compiled.decide()
            ways["shared + compiled"] = compiled
        except RuntimeError as error:
            obstacle = f"not measured: torch.compile failed ({str(error).splitlines()[0][:80]})"
        compile_s = time.perf_counter() - start
    difference = _largest_difference(ways)
    timings = {
        "whole decision": _measure(
            shared.decide_naive, {name: way.decide for name, way in ways.items()}, turns, device
        ),
        "sampling": _measure(
            shared.sample_naive, {name: way.sample for name, way in ways.items()}, turns, device
        ),
        "scoring": _measure(
            shared.score_naive, {name: way.score for name, way in ways.items()}, turns, device
        ),
    }
    notes = {
        "naive": "observation tokens repeated",
        "shared": f"same chunk, to {difference:.0e}",
        "shared + compiled": f"compiling took {compile_s:.0f} s",
    }
    rows = _rows(timings, notes)
    if obstacle:
        rows.append(Row("shared + compiled", note=obstacle))
    title = (
        f"One decision: N = {size.num_candidates} candidates, S = {size.num_tokens} observation "
        f"tokens, H = {size.model.chunk.chunk_length}, A = {size.action_dim}"
    )
    return Section(title, "naive ÷ this", rows)


def _measure(
    naive: Callable[[], Tensor], others: dict[str, Callable[[], Tensor]], turns: int, device: str
) -> Timings:
    return measure({"naive": naive, **others}, turns, device)


def _largest_difference(ways: dict[str, Networks]) -> float:
    """Between the chunks the ways choose from the same latents."""
    naive = ways["shared"].decide_naive()
    largest = max(float((way.decide()[0] - naive).abs().max()) for way in ways.values())
    if not largest < 1e-3:
        raise NumericalError(
            f"shared and repeated observations choose chunks {largest} apart (normalised actions); "
            "comparing their times means nothing until they agree"
        )
    return largest


def _rows(timings: dict[str, Timings], notes: dict[str, str]) -> list[Row]:
    aims = {"shared": "≥ 3.3", "shared + compiled": "≥ 4"}  # by the operations saved, of sampling
    rows: list[Row] = []
    for part, timing in timings.items():
        whole = part == "whole decision"
        rows += [
            Row(
                f"{part}, {way}",
                timing.ms(way),
                timing.ratio("naive", way),
                aims.get(way, "") if part == "sampling" else "",
                notes[way] if whole else "",
            )
            for way in timing.turns_ms
        ]
    return rows
