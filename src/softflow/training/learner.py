"""One learner: the networks, their optimisers, and one update method a loss."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from softflow.errors import ConfigError
from softflow.models.action_selection import select_by_value
from softflow.models.critic import CriticEnsemble
from softflow.models.images.sharing import copy_but_frozen, frozen_backbones, share_frozen
from softflow.models.inputs import ModelInputs
from softflow.models.network_kit import check_shapes
from softflow.models.normalizers import perturb
from softflow.models.policy import POLICIES, ChunkPolicy, Condition
from softflow.models.value_distribution import ValueSupport
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.config import (
    CriticStageConfig,
    ModelConfig,
    RLConfig,
    StageConfig,
    TrainingConfig,
)
from softflow.training.losses import (
    Metrics,
    actor_loss,
    bootstrap_value,
    critic_loss,
    imitation_loss,
)
from softflow.training.updates.augmentation import augmented
from softflow.training.updates.finite_watch import FiniteWatch
from softflow.training.updates.modes import (
    frozen,
    running_statistics,
    trained,
    training_mode,
)
from softflow.training.updates.next_chunks import NextChunks


def build_policy(config: ModelConfig, inputs: ModelInputs) -> ChunkPolicy:
    """A fresh policy of the configured kind.

    Raises:
        ConfigError: there is no such kind, or the data lack what it reads.
    """
    return POLICIES.find(config.policy.kind)(inputs, config.policy, config.encoder)


def build_critic(
    config: ModelConfig, inputs: ModelInputs, support: ValueSupport, policy: ChunkPolicy
) -> CriticEnsemble:
    """A fresh critic ensemble whose histograms span `support`.

    It looks through the policy's frozen image backbones, if there are any.
    """
    critic = CriticEnsemble(inputs, support, config.critic, config.encoder)
    share_frozen(policy.encoder, critic.encoder)
    return critic


def usable_device(name: str) -> torch.device:
    """A torch device that works here.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f'device "{name}" cannot be used here ({reason}); use "cpu"') from error
    return device


def _imitated_rows(batch: ChunkBatch, stage: RLConfig) -> Tensor:
    """[K] int64: where a batch says what the imitation term asks for."""
    imitated = batch.episode_success & batch.step_valid.any(dim=1)
    if stage.imitates == "demonstrations":
        imitated &= batch.is_offline
    return imitated.nonzero().squeeze(1)


class Learner:
    """Policy, critic, target critic and their updates.

    The randomness of an update comes from torch's global generator, which the run seeds from
    (seed, stage, update_step) before each update.

    Args:
        config: of the run; inputs: what the networks are told of the data.
        support: the values that the critic's histograms span.
        fresh: image backbones start from the pretrained weights that the configuration names; False
            where a checkpoint brings all weights.

    Raises:
        ConfigError: the networks do not fit the data, the memory, the device, or their files.
    """

    def __init__(
        self,
        config: TrainingConfig,
        inputs: ModelInputs,
        support: ValueSupport,
        *,
        fresh: bool = True,
    ) -> None:
        config.require_memory()
        self.config, self.inputs = config, inputs
        self.device = usable_device(config.device)
        torch.manual_seed(config.seed)
        policy = build_policy(config.model, inputs)
        check_shapes(policy)
        critic = build_critic(config.model, inputs, support, policy)
        if fresh:
            policy.encoder.observation.load_pretrained()
            if not frozen_backbones(critic.encoder):  # the policy's have them now
                critic.encoder.observation.load_pretrained()
        self.policy, self.critic = policy.to(self.device), critic.to(self.device)
        self.target_critic = copy_but_frozen(self.critic).eval().requires_grad_(False)
        self._followed = self._pairs_for_polyak()
        self.policy_optimizer = self._adamw(self.policy)
        self.critic_optimizer = self._adamw(self.critic)
        self.watch = FiniteWatch(self.device)

    @property
    def critic_is_trained(self) -> bool:
        """Whether the critic had any update: before, its values say nothing."""
        return bool(self.critic_optimizer.state)

    def _adamw(self, module: nn.Module) -> torch.optim.AdamW:
        """AdamW with the paper's betas and weight decay (App. C2)."""
        return torch.optim.AdamW(
            trained(module), lr=1e-4, weight_decay=self.config.weight_decay, fused=True
        )

    def set_up(self, stage: StageConfig, update: int = 0) -> None:
        """Set learning rate and dropout for an update of a stage (App. C2)."""
        for optimizer in (self.policy_optimizer, self.critic_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = stage.learning_rate_at(update)
        self.policy.set_dropout(stage.dropout)

    def _pairs_for_polyak(self) -> list[tuple[Tensor, Tensor]]:
        """What of the target critic follows the critic: its trained weights, and statistics."""
        target, online = self.target_critic, self.critic
        weights = zip(target.parameters(), online.parameters(), strict=True)
        statistics = zip(running_statistics(target), running_statistics(online), strict=True)
        return [
            *((theirs, ours) for theirs, ours in weights if ours.requires_grad),
            *((theirs, ours) for theirs, ours in statistics if theirs is not ours),
        ]

    @torch.no_grad()
    def prepared(self, batch: ChunkBatch) -> ChunkBatch:
        """A batch as the updates of one step share it: on the device, augmented, features computed.

        Frames are augmented once, for policy and critic alike; what frozen image backbones say of
        them is computed once, for policy, critic and target critic. Features in place of frames
        stay what they are, and what follows a window stays left out.
        """
        batch = batch.to(self.device)
        encoder, how = self.policy.encoder, self.config.data.augmentation
        now = encoder.with_frozen_features(augmented(batch.observation, how))
        if not batch.next_observation:
            return replace(batch, observation=now)
        then = encoder.with_frozen_features(augmented(batch.next_observation, how))
        return replace(batch, observation=now, next_observation=then)

    def imitation_update(self, batch: ChunkBatch) -> Metrics:
        """One gradient step of Eq. 8."""
        batch = batch.to(self.device)
        actions, prefix = self._normalized(batch)
        policy = self.policy
        training_mode(policy, learns_statistics=True)
        condition = policy.condition(batch.observation, prefix)
        cost = policy.imitation_cost(condition, actions, batch.step_valid, self.config.noise_std)
        said = batch.step_valid.any(dim=1).to(cost.dtype)
        loss, metrics = imitation_loss(cost, said, policy.cost_name)
        return metrics | self._step(loss, self.policy, self.policy_optimizer)

    def critic_update(
        self, batch: ChunkBatch, stage: CriticStageConfig, ahead: NextChunks | None = None
    ) -> Metrics:
        """One gradient step of Eq. 7, then the Polyak step of the target critic.

        Args:
            batch: of the offline data where `ahead` is given.
            stage: how.
            ahead: next chunks of a policy that stands still; None samples them here.
        """
        batch = batch.to(self.device)
        actions, prefix = self._normalized(batch)
        next_value = self._next_value(batch, stage.target_candidates, ahead)
        training_mode(self.critic, learns_statistics=not isinstance(stage, RLConfig))
        tokens = self.critic.encoder(batch.observation, prefix)
        limit = self.policy.action_limit
        seen = perturb(actions, self.config.critic_noise_std).clamp(-limit, limit)
        outputs = self.critic(tokens, seen[:, None]).squeeze(2)
        loss, metrics = critic_loss(
            outputs,
            batch.rewards,
            batch.num_steps,
            batch.bootstrap_mask,
            next_value,
            self.config.discount,
            self.critic.output,
        )
        metrics |= self._step(loss, self.critic, self.critic_optimizer, "critic_")
        self._polyak()
        return metrics

    def actor_update(self, batch: ChunkBatch, stage: RLConfig, bc_coef: float) -> Metrics:
        """One gradient step of -Q + lambda * imitation, the flow's NLL (IV-D, III and IV).

        The imitation term is Eq. 8's: successful demonstrations, hence offline rows only, unless
        the stage imitates its own successes too. Without `value_coef` it is all there is.
        """
        rows = _imitated_rows(batch, stage).to(self.device)
        batch = batch.to(self.device)
        actions, prefix = self._normalized(batch)
        policy = self.policy
        training_mode(policy, learns_statistics=False)
        condition = policy.condition(batch.observation, prefix)
        cost = self._imitation_cost(condition, actions, batch.step_valid, rows)
        if stage.value_coef == 0:
            loss, metrics = imitation_loss(cost, torch.ones_like(cost), policy.cost_name)
            if len(rows) == 0:  # a batch of failures teaches imitation nothing
                return metrics
            return metrics | self._step(bc_coef * loss, self.policy, self.policy_optimizer)
        policy.eval()
        with frozen(self.critic):
            tokens = self.critic.encoder(batch.observation, prefix)
            selection = select_by_value(
                policy,
                condition,
                self.critic,
                tokens,
                stage.actor_candidates,
                self.config.sampling_std,
                pathwise=True,
            )
            weight = torch.ones_like(cost)
            loss, metrics = actor_loss(
                selection.value, cost, weight, bc_coef, stage.value_coef, policy.cost_name
            )
            if stage.actor_candidates > 1:
                spread = selection.candidate_values.std(dim=1, correction=0)
                metrics["candidate_value_spread"] = spread.mean()
            return metrics | self._step(loss, self.policy, self.policy_optimizer)

    def _normalized(self, batch: ChunkBatch) -> tuple[Tensor, Tensor]:
        normalize = self.policy.normalize_actions
        return (
            normalize(batch.actions, batch.observation),
            normalize(batch.prefix_actions, batch.observation),
        )

    def _imitation_cost(
        self, condition: Condition, actions: Tensor, step_valid: Tensor, rows: Tensor
    ) -> Tensor:
        """The cost of the rows [K] that are imitated; that of the others need not be known."""
        if len(rows) == 0:
            return actions.new_zeros(0)
        condition = self.policy.rows_of(condition, rows)
        noise_std = self.config.noise_std
        return self.policy.imitation_cost(condition, actions[rows], step_valid[rows], noise_std)

    @torch.no_grad()
    def _next_value(
        self, batch: ChunkBatch, num_candidates: int, ahead: NextChunks | None
    ) -> Tensor:
        prefix = self.policy.normalize_actions(batch.next_prefix_actions, batch.next_observation)
        self.policy.eval()
        tokens = self.target_critic.encoder(batch.next_observation, prefix)
        if ahead is not None and (chunks := ahead.of(batch.window)) is not None:
            return self.target_critic.value(tokens, chunks[:, None]).squeeze(1)
        condition = self.policy.condition(batch.next_observation, prefix)
        return bootstrap_value(
            self.policy,
            condition,
            self.target_critic,
            tokens,
            num_candidates,
            self.config.sampling_std,
        )

    @torch.no_grad()
    def _polyak(self) -> None:
        """target <- (1 - tau) target + tau critic (App. C2)."""
        step = self.config.tau * (1 - self.watch.found)
        for target, online in self._followed:
            target.lerp_(online, step)

    def _step(
        self,
        loss: Tensor,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        prefix: str = "policy_",
    ) -> Metrics:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
        self.watch.note(prefix.rstrip("_"), loss, norm)
        # The fused kernel skips the step, moments and all, where this is 1.
        optimizer.found_inf = self.watch.found  # type: ignore[attr-defined]
        optimizer.step()
        return {f"{prefix}grad_norm": norm}
