"""PPO as rsl-rl implements it, over hands on the processor: one iteration is one call.

Its runner saves with pickle and prints; so the loop is here, in plain sight, and the algorithm is
the library's.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softflow.errors import CheckpointError, MissingPackageError, NumericalError
from softflow.teacher.config import PpoConfig
from softflow.teacher.residual import ResidualHands

GROUP = "state"


class PpoLearner:
    """A policy and a value function over residual hands, and the algorithm that improves them.

    Args:
        hands: to act in.
        config: PPO's numbers.
        device: where the networks are.

    Raises:
        MissingPackageError: rsl-rl-lib is not installed.
    """

    def __init__(self, hands: ResidualHands, config: PpoConfig, device: str = "cpu") -> None:
        self._hands, self._config, self._device = hands, config, device
        self.observation = hands.observation()
        self.algorithm = _algorithm(self.observation, hands.num_actions, config, device)

    def iterate(self) -> dict[str, float]:
        """One rollout of every hand and the updates on it; what is worth a curve.

        Raises:
            NumericalError: a loss or an action is not finite.
        """
        sums = {"reward": 0.0, "turned_rad": 0.0, "drops": 0.0, "broken": 0.0}
        with torch.inference_mode():
            for _ in range(self._config.steps_per_env):
                self._step(sums)
            self.algorithm.compute_returns(self._observed())
        losses = {name: float(loss) for name, loss in self.algorithm.update().items()}
        if not np.isfinite(list(losses.values())).all():
            raise NumericalError(
                f"PPO's losses are {losses}; continue from the last checkpoint with a smaller "
                "learning rate (--ppo.learning-rate)"
            )
        steps = self._config.steps_per_env * self._config.num_envs
        minutes = steps / self._hands.hand.settings.max_steps * self._hands.hand.settings.episode_s
        return {
            "reward": sums["reward"] / steps,
            "turns_per_minute": sums["turned_rad"] / (2 * np.pi) / (minutes / 60),
            "drops_per_minute": sums["drops"] / (minutes / 60),
            "broken": sums["broken"],
            "learning_rate": float(self.algorithm.learning_rate),
            "std": float(self.algorithm.actor.output_std.detach().mean()),
            **losses,
        }

    def _step(self, sums: dict[str, float]) -> None:
        algorithm = self.algorithm
        actions = algorithm.act(self._observed())
        if not torch.isfinite(actions).all():
            raise NumericalError("the teacher's actions are not finite; go on from a checkpoint")
        direction = np.sign(self._hands.hand.commands)
        step = self._hands.step(actions.cpu().numpy().astype(np.float64))
        self.observation = step.observation
        # What broke is cut off as by a time limit: nobody learns that breaking physics pays.
        cut = step.hand.timed_out | step.hand.broken
        algorithm.process_env_step(
            self._observed(),
            self._tensor(step.reward),
            self._tensor(step.hand.done),
            {"time_outs": self._tensor(cut)},
        )
        sums["reward"] += float(step.reward.sum())
        sums["turned_rad"] += float((direction * step.hand.turned_rad).sum())
        sums["drops"] += int(step.hand.dropped.sum())
        sums["broken"] += int(step.hand.broken.sum())

    def _observed(self) -> Any:
        return _groups(self.observation, self._device)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self._device)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training continues from, by name."""
        found = {f"actor.{k}": v for k, v in self.algorithm.actor.state_dict().items()}
        found |= {f"critic.{k}": v for k, v in self.algorithm.critic.state_dict().items()}
        for index, values in self.algorithm.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{k}": v for k, v in values.items()}
        found["learning_rate"] = torch.tensor(self.algorithm.learning_rate, dtype=torch.float64)
        return found

    def restore(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Continue from what `tensors` gave.

        Raises:
            CheckpointError: they are of other networks.
        """
        parts: dict[str, dict[str, Tensor]] = {"actor": {}, "critic": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind in parts:
                parts[kind][rest] = tensor
        load_network(self.algorithm.actor, parts["actor"], where)
        load_network(self.algorithm.critic, parts["critic"], where)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        optimizer = self.algorithm.optimizer
        groups = optimizer.state_dict()["param_groups"]
        self.algorithm.learning_rate = float(tensors["learning_rate"])
        for group in groups:
            group["lr"] = self.algorithm.learning_rate
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def build_actor(observation_dim: int, num_actions: int, config: PpoConfig) -> Any:
    """The teacher's policy with random weights: rsl-rl's MLP, observations normalised."""
    return _model(np.zeros((1, observation_dim), np.float32), "actor", num_actions, config)


def load_network(network: Any, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a network.

    Raises:
        CheckpointError: they are another network's.
    """
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise CheckpointError(
            f"the networks in {where} are of another size than this configuration makes ({error}); "
            "train in a new folder, or with the numbers of that run"
        ) from error


def act(actor: Any, observation: np.ndarray) -> np.ndarray:
    """The policy's mean corrections [N, A] for observations [N, D]."""
    with torch.inference_mode():
        found = actor(_groups(observation, "cpu"))
    return found.numpy().astype(np.float64)


def _groups(observation: np.ndarray, device: str) -> Any:
    from tensordict import TensorDict

    return TensorDict(
        {GROUP: torch.as_tensor(observation, device=device)}, batch_size=[len(observation)]
    )


def _model(observation: np.ndarray, kind: str, outputs: int, config: PpoConfig) -> Any:
    try:
        from rsl_rl.models import MLPModel
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"the teacher needs rsl-rl-lib ({error}): pip install 'softflow[cube]'",
            name=error.name,
        ) from error
    gaussian = {
        "class_name": "GaussianDistribution",
        "init_std": config.init_std,
        "std_type": "log",
    }
    model = MLPModel(
        _groups(observation, "cpu"),
        {kind: [GROUP]},
        kind,
        outputs,
        hidden_dims=list(config.hidden),
        activation="elu",
        obs_normalization=True,
        distribution_cfg=gaussian if kind == "actor" else None,
    )
    if kind == "actor":
        last = model.mlp[-1]
        assert isinstance(last, torch.nn.Linear)
        with torch.no_grad():
            # The first policy is the gait itself, and noise.
            last.weight.mul_(0.01)
            last.bias.zero_()
    return model


def _algorithm(observation: np.ndarray, num_actions: int, config: PpoConfig, device: str) -> Any:
    actor = _model(observation, "actor", num_actions, config)
    critic = _model(observation, "critic", 1, config)
    with contextlib.redirect_stdout(io.StringIO()):
        from rsl_rl.algorithms import PPO
        from rsl_rl.storage import RolloutStorage

        storage = RolloutStorage(
            "rl",
            len(observation),
            config.steps_per_env,
            _groups(observation, device),
            [num_actions],
            device,
        )
    algorithm = PPO(
        actor,
        critic,
        storage,
        num_learning_epochs=config.epochs,
        num_mini_batches=config.minibatches,
        clip_param=config.clip,
        gamma=config.discount,
        lam=config.gae_lambda,
        value_loss_coef=config.value_coef,
        entropy_coef=config.entropy_coef,
        learning_rate=config.learning_rate,
        max_grad_norm=config.max_grad_norm,
        schedule="adaptive",
        desired_kl=config.desired_kl,
        device=device,
    )
    algorithm.train_mode()
    return algorithm
