"""One learner: the networks, their optimisers, and one update method a loss."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from softflow.models.action_selection import select_by_value
from softflow.models.critic import CriticEnsemble
from softflow.models.images.sharing import copy_but_frozen, frozen_backbones, share_frozen
from softflow.models.inputs import ModelInputs
from softflow.models.network_kit import check_shapes
from softflow.models.normalizers import clamp_to_limit, perturb
from softflow.models.policy import POLICIES, ChunkPolicy, Condition
from softflow.models.value_distribution import ValueSupport
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.config import (
    STAGES,
    CriticStageConfig,
    ImitationConfig,
    ModelConfig,
    RLConfig,
    StageConfig,
    TrainingConfig,
)
from softflow.training.hardware.devices import compile_networks, mixed_precision, usable_device
from softflow.training.hardware.ranks import Ranks, gradients
from softflow.training.losses import (
    Metrics,
    actor_loss,
    bootstrap_value,
    critic_loss,
    editor_loss,
    imitation_loss,
)
from softflow.training.updates.augmentation import augmented
from softflow.training.updates.finite_watch import FiniteWatch
from softflow.training.updates.imitated_rows import (
    ImitatedRows,
    imitated_rows,
    turned_out_well,
    weighed,
)
from softflow.training.updates.modes import (
    frozen,
    running_statistics,
    trained,
    training_mode,
)
from softflow.training.updates.next_chunks import NextChunks
from softflow.training.updates.normalised_rows import normalised, normalised_next_prefix


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


class Learner:
    """Policy, critic, target critic and their updates.

    The randomness of an update comes from torch's global generator, which the run seeds from
    (seed, stage, update_step) before each update.

    Args:
        config: of the run; inputs: what the networks are told of the data.
        support: the values that the critic's histograms span.
        fresh: image backbones start from the pretrained weights that the configuration names; False
            where a checkpoint brings all weights.
        ranks: the processes that share every batch; by default this one has it alone.

    Attributes:
        device: of the networks.
        compiled: names of what was compiled.

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
        ranks: Ranks | None = None,
    ) -> None:
        config.require_memory()
        self.config, self.inputs, self.ranks = config, inputs, ranks or Ranks()
        self.ranks.require_even({stage: getattr(config, stage).batch_size for stage in STAGES})
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
        self.target_critic.num_judges = config.model.critic.num_judges
        self._followed = self._pairs_for_polyak()
        self.policy_optimizer = self._adamw(self.policy)
        self.critic_optimizer = self._adamw(self.critic)
        self.watch = FiniteWatch(self.device)
        networks = (self.policy, self.critic, self.target_critic)
        self.compiled = compile_networks(self.device, *networks) if config.compile else []

    def _mixed(self) -> torch.autocast:
        return mixed_precision(self.device, self.config.precision)

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
        with self._mixed():
            now = encoder.with_frozen_features(augmented(batch.observation, how))
            if not batch.next_observation:
                return replace(batch, observation=now)
            then = encoder.with_frozen_features(augmented(batch.next_observation, how))
        return replace(batch, observation=now, next_observation=then)

    def imitation_update(self, batch: ChunkBatch, stage: ImitationConfig | None = None) -> Metrics:
        """One gradient step of Eq. 8.

        Every row is imitated; where the stage has a `take_over_weight`, those that it `imitates`
        are, and chunks that a person began count that much, as in `actor_update`.
        """
        weight, steps = self._weighed(batch, stage)
        batch = batch.to(self.device)
        actions, prefix = normalised(self.policy, batch)
        policy, noise_std = self.policy, self.config.noise_std
        training_mode(policy, learns_statistics=True)
        with self._mixed():
            condition = policy.condition(batch.observation, prefix)
            cost = policy.imitation_cost(condition, actions, steps, noise_std)
        counted = self.ranks.total(weight)
        loss, metrics = imitation_loss(cost, weight, policy.cost_name, self._divisor(counted))
        return metrics | self._step(loss, policy, self.policy_optimizer, idle=counted == 0)

    def _weighed(self, batch: ChunkBatch, stage: ImitationConfig | None) -> tuple[Tensor, Tensor]:
        """How much each row [B] of a batch of imitation counts, and which actions [B, H] of it."""
        if stage is None or stage.take_over_weight is None:
            steps = batch.step_valid.to(self.device)
            return steps.any(dim=1).to(batch.actions.dtype), steps
        imitated = turned_out_well(batch, stage)
        weight, steps = weighed(batch, imitated, stage.take_over_weight)
        return weight.to(self.device), steps.to(self.device) & batch.step_valid.to(self.device)

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
        actions, prefix = normalised(self.policy, batch)
        next_value = self._next_value(batch, stage.target_candidates, ahead)
        training_mode(self.critic, learns_statistics=not isinstance(stage, RLConfig))
        limit = self.policy.action_limit
        seen = perturb(actions, self.config.critic_noise_std).clamp(-limit, limit)
        with self._mixed():
            tokens = self.critic.encoder(batch.observation, prefix)
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
        the stage imitates its own successes, everything, or a person's actions too. Without
        `value_coef` it is all there is.
        """
        rows, weight, steps = self._imitated(batch, stage)
        batch = batch.to(self.device)
        actions, prefix = normalised(self.policy, batch)
        policy, name = self.policy, self.policy.cost_name
        training_mode(policy, learns_statistics=False)
        with self._mixed():
            condition = policy.condition(batch.observation, prefix)
            cost = self._imitation_cost(condition, actions, batch.step_valid[rows] & steps, rows)
        counted = self.ranks.total(weight)
        total = self._divisor(counted)
        if stage.value_coef == 0:
            loss, metrics = imitation_loss(cost, weight, name, total)
            if len(rows) == 0:  # a batch of failures teaches imitation nothing
                return metrics
            idle = counted == 0
            return metrics | self._step(bc_coef * loss, policy, self.policy_optimizer, idle=idle)
        policy.eval()
        with frozen(self.critic):
            with self._mixed():
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
            loss, metrics = actor_loss(
                selection.value, cost, weight, bc_coef, stage.value_coef, name, total
            )
            if stage.actor_candidates > 1:
                spread = selection.candidate_values.std(dim=1, correction=0)
                metrics["candidate_value_spread"] = spread.mean()
            return metrics | self._step(loss, policy, self.policy_optimizer)

    def editor_update(self, batch: ChunkBatch) -> Metrics:
        """One gradient step of the critic's editor on a chunk of the policy a row, if it has one.

        The target critic's editor follows by Polyak, as everything of it does.
        """
        editor = self.critic.editor
        if editor is None:
            return {}
        for critic in (self.critic, self.target_critic):
            critic.eval().editor.grow()  # type: ignore[union-attr]
        batch = batch.to(self.device)
        policy, (_, prefix) = self.policy.eval(), normalised(self.policy, batch)
        with torch.no_grad(), self._mixed():
            condition = policy.condition(batch.observation, prefix)
            chunks = policy.sample(1, self.config.sampling_std, condition, len(prefix))
            tokens = self.critic.encoder(batch.observation, prefix)
        with self._mixed():
            limit = policy.action_limit
            edited, log_prob = self.critic.edited(tokens, clamp_to_limit(chunks, limit), limit)
            with frozen(self.critic):
                value = self.critic.value(tokens, edited)
        rows = value.squeeze(1), log_prob.squeeze(1)
        loss, metrics = editor_loss(*rows, editor.log_weight, editor.entropy_aim)
        return metrics | self._step(loss, editor, self.critic_optimizer, "editor_")

    def _imitated(self, batch: ChunkBatch, stage: RLConfig) -> ImitatedRows:
        """What is imitated, on the device.

        Where processes share a batch, one that has no such row looks at its first with weight 0:
        all must meet in the same weights.
        """
        found = imitated_rows(batch, stage)
        if self.ranks.count > 1 and len(found.rows) == 0:
            rows, steps = (
                torch.zeros(1, dtype=torch.int64),
                found.steps.new_ones(1, found.steps.shape[1]),
            )
            found = ImitatedRows(rows, torch.zeros(1), steps)
        return ImitatedRows(*(part.to(self.device, non_blocking=True) for part in found))

    def _divisor(self, counted: Tensor) -> Tensor:
        """What this process divides the sum of its weighted costs by: at least one row in all."""
        return counted.clamp_min(1 / self.ranks.count)

    def _imitation_cost(
        self, condition: Condition, actions: Tensor, steps: Tensor, rows: Tensor
    ) -> Tensor:
        """The cost of the rows [K] that are imitated, of the actions in `steps` [K, H] each."""
        if len(rows) == 0:
            return actions.new_zeros(0)
        condition = self.policy.rows_of(condition, rows)
        noise_std = self.config.noise_std
        return self.policy.imitation_cost(condition, actions[rows], steps, noise_std)

    @torch.no_grad()
    def _next_value(
        self, batch: ChunkBatch, num_candidates: int, ahead: NextChunks | None
    ) -> Tensor:
        prefix = normalised_next_prefix(self.policy, batch)
        self.policy.eval()
        with self._mixed():
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
        idle: Tensor | None = None,
    ) -> Metrics:
        """One step of the optimiser; none where `idle`, a bool on the device, is true."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._average(loss, module)
        norm = nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
        self.watch.note(prefix.rstrip("_"), loss, norm)
        # The fused kernel skips the step, moments and all, where this is 1.
        still = self.watch.found if idle is None else torch.maximum(self.watch.found, idle.float())
        optimizer.found_inf = still  # type: ignore[attr-defined]
        optimizer.step()
        return {f"{prefix}grad_norm": norm}

    def _average(self, loss: Tensor, module: nn.Module) -> None:
        """Of all processes: the loss, its gradients, and what BatchNorm has just learned."""
        statistics = running_statistics(module, learning_now=True)
        self.ranks.average([loss.detach(), *gradients(module.parameters()), *statistics])
