"""A learner to and from a checkpoint, and a policy ready to act from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import dacite
import msgspec
import torch
from torch import Tensor

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.statistics import DatasetStatistics
from softflow.errors import (
    CheckpointError,
    DataError,
    SoftflowError,
    StoreError,
    UntrustedImportError,
    brief,
)
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.models.checkpoint import (
    CheckpointParts,
    load_weights,
    read_acting,
    read_checkpoint,
)
from softflow.models.critic import CRITICS, CriticConfig, CriticEnsemble
from softflow.models.earlier_versions import upgraded_model
from softflow.models.encoder import ENCODERS, EncoderConfig
from softflow.models.images.backbone import BACKBONES, ImageConfig
from softflow.models.images.sharing import frozen_names
from softflow.models.inputs import ModelInputs
from softflow.models.kinds import KindConfig, Kinds
from softflow.models.memory import require_memory_for_networks
from softflow.models.policy import POLICIES, ChunkPolicy, PolicyConfig
from softflow.models.value_distribution import ValueSupport
from softflow.training.config import ModelConfig, StageName, TrainingConfig
from softflow.training.hardware.devices import memory_of, usable_device
from softflow.training.learner import Learner, build_critic, build_policy
from softflow.utils.documents import checked

T = TypeVar("T")
Count = Annotated[int, msgspec.Meta(ge=0)]
_OTHER = "use a checkpoint that `softflow train` wrote"

POLICY, CRITIC = "pretrained_model/model", "algorithm/critic"
TARGET_CRITIC = "algorithm/target_critic"
CONFIG, STATISTICS = "pretrained_model/config", "pretrained_model/statistics"
DATA_SPEC = "pretrained_model/data_spec"
PROGRESS = "pretrained_model/progress"
SUPPORT, POSITION = "algorithm/value_support", "training_state/position"
OPTIMIZERS = {
    "policy": "training_state/policy_optimizer",
    "critic": "training_state/critic_optimizer",
}


def config_to_json(config: Any) -> dict[str, Any]:
    """The JSON form of a configuration; policies, critics and encoders name their kind."""
    values = {item.name: _as_json(getattr(config, item.name)) for item in fields(config)}
    return {"kind": config.kind, **values} if isinstance(config, KindConfig) else values


def _as_json(value: Any) -> Any:
    if is_dataclass(value):
        return config_to_json(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def config_from_json(kind: type[T], value: Any, where: str) -> T:
    """A configuration dataclass from its JSON form, nothing unknown, nothing missing.

    Raises:
        UntrustedImportError: it names a network by an import path that the user did not name.
        CheckpointError: names the field that does not fit.
    """
    try:
        if not isinstance(value, dict):
            raise TypeError(f"it is a {type(value).__name__}, expected an object")
        return dacite.from_dict(kind, value, _AS_JSON)
    except UntrustedImportError as error:
        raise UntrustedImportError(f"{where}: {error}") from error
    except _MISFITS as error:
        said = str(error) if isinstance(error, SoftflowError) else brief(error)
        raise CheckpointError(
            f"{where} does not hold a {kind.__name__} of this version of softflow: {said}; use "
            "the version that wrote it (versions.json in the run folder names it)"
        ) from error


def _by_kind(kinds: Kinds[Any]) -> Callable[[Any], Any]:
    """Of several configurations the one whose kind is named."""

    def configuration(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        sizes = {str(key): number for key, number in value.items() if key != "kind"}
        if "kind" not in value:
            raise CheckpointError(f"the {kinds.what}'s configuration names no kind")
        return dacite.from_dict(kinds.config_class(str(value["kind"])), sizes, _AS_JSON)

    return configuration


def _whole(value: Any) -> Any:
    """JSON's true is no number, though Python takes it for one."""
    if isinstance(value, bool):
        raise TypeError(f"{str(value).lower()} stands where a whole number belongs")
    return value


def _model(value: Any) -> Any:
    return upgraded_model(value) if isinstance(value, Mapping) else value


_MISFITS = (
    *(dacite.DaciteError, SoftflowError),
    *(TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError),
)
"""What values of any type make dacite and the configurations themselves raise."""
_AS_JSON = dacite.Config(
    strict=True,
    cast=[tuple],
    type_hooks={
        int: _whole,
        PolicyConfig: _by_kind(POLICIES),
        EncoderConfig: _by_kind(ENCODERS),
        CriticConfig: _by_kind(CRITICS),
        ImageConfig: _by_kind(BACKBONES),
        ModelConfig: _model,
    },
)


def learner_parts(learner: Learner, spec: DataSpec, position: dict[str, Any]) -> CheckpointParts:
    """Everything of a learner, as the contents of a checkpoint."""
    return CheckpointParts(
        tensors={
            POLICY: learner.policy.state_dict(),
            CRITIC: _own_weights(learner.critic),
            TARGET_CRITIC: _own_weights(learner.target_critic),
            OPTIMIZERS["policy"]: optimizer_tensors(learner.policy_optimizer),
            OPTIMIZERS["critic"]: optimizer_tensors(learner.critic_optimizer),
        },
        documents={
            CONFIG: config_to_json(learner.config),
            STATISTICS: learner.inputs.statistics.to_json(),
            DATA_SPEC: spec.to_json(),
            PROGRESS: {
                "stage": position["stage"],
                "update_step": position["update_step"],
                "critic_is_trained": learner.critic_is_trained,
            },
            SUPPORT: asdict(learner.critic.output.support),
            POSITION: position,
        },
    )


def restore_learner(learner: Learner, parts: CheckpointParts, where: str) -> dict[str, Any]:
    """Load a checkpoint into a learner of the same configuration; returns the position.

    Raises:
        CheckpointError: the checkpoint was made for other dimensions.
    """
    position = position_of(parts)
    load_policy(learner, parts, where)
    load_critic(learner, parts, where)
    return position


def load_policy(
    learner: Learner, parts: CheckpointParts, where: str, *, moments: bool = True
) -> None:
    """The policy of a checkpoint, with its optimiser's moments.

    Raises:
        CheckpointError: it was made for other dimensions.
    """
    load_weights(learner.policy, _policy_weights(learner.policy, parts), where)
    if moments:
        load_optimizer(learner.policy_optimizer, parts.weights(OPTIMIZERS["policy"]), where)


def load_critic(learner: Learner, parts: CheckpointParts, where: str) -> None:
    """Critic, target critic and their optimiser's moments of a checkpoint.

    Raises:
        CheckpointError: they were made for other dimensions.
    """
    shared = frozen_names(learner.critic)
    load_weights(learner.critic, parts.weights(CRITIC), where, shared)
    load_weights(learner.target_critic, parts.weights(TARGET_CRITIC), where, shared)
    load_optimizer(learner.critic_optimizer, parts.weights(OPTIMIZERS["critic"]), where)


def load_selector(
    checkpoint: Path, selection: SelectionConfig, device: str = "cpu"
) -> tuple[ChunkSelector, ChunkSpec]:
    """A policy ready to act on a device, and the lengths of its decisions.

    Raises:
        ConfigError: there is no such device, or the networks do not fit its memory.
        CheckpointError: the checkpoint is damaged or of another version.
    """
    critic = (CRITIC, SUPPORT) if selection.rule == "value" else ()
    return selector_of(read_acting(checkpoint, *critic), selection, device)


def selector_of(
    parts: CheckpointParts, selection: SelectionConfig, device: str = "cpu"
) -> tuple[ChunkSelector, ChunkSpec]:
    """As `load_selector`, of parts that were read; rule "likelihood" needs no critic."""
    config, spec, statistics = policy_facts(parts)
    inputs = model_inputs(config.model, spec, statistics)
    return build_selector(config.model, inputs, parts, selection, device)


def policy_facts(parts: CheckpointParts) -> tuple[TrainingConfig, DataSpec, DatasetStatistics]:
    """What a policy is and what it has seen, of parts that were read.

    Raises:
        CheckpointError: they are damaged or of another version.
    """
    where = parts.where
    config = config_from_json(TrainingConfig, parts.document(CONFIG), where)
    spec = _data_spec(parts, where)
    return config, spec, _statistics(parts, spec, where)


def support_of(parts: CheckpointParts, model: ModelConfig) -> ValueSupport:
    """What the critic's histograms span.

    Raises:
        CheckpointError: it is damaged, or not of this critic.
    """
    support = config_from_json(ValueSupport, parts.document(SUPPORT), parts.where)
    if support.num_bins != model.critic.num_bins:
        raise CheckpointError(
            f"{parts.where}: {SUPPORT}.json has {support.num_bins} bins, the critic "
            f"{model.critic.num_bins}; {_OTHER}"
        )
    return support


def model_inputs(model: ModelConfig, spec: DataSpec, statistics: DatasetStatistics) -> ModelInputs:
    """What the networks of a configuration are told of the data."""
    return ModelInputs(model.chunk, statistics, spec.observation_shapes, model.actions)


def read_run_facts(checkpoint: Path) -> tuple[TrainingConfig, DataSpec, dict[str, Any]]:
    """Configuration, data spec and position of a checkpoint, without its weights.

    Raises:
        CheckpointError: the checkpoint is damaged or of another version.
    """
    parts, where = read_checkpoint(checkpoint, (CONFIG, DATA_SPEC, POSITION)), str(checkpoint)
    config = config_from_json(TrainingConfig, parts.document(CONFIG), where)
    return config, _data_spec(parts, where), position_of(parts)


class _PositionDocument(msgspec.Struct, forbid_unknown_fields=True):
    """training_state/position.json; of the networks at a numerical error it has no counts."""

    stage: StageName
    update_step: Count
    seed: Count = 0
    metric_rows: Count = 0
    online_episodes: Count = 0
    robot_steps: Count = 0
    offline_data: list[str] | None = None
    online_data: list[str] | None = None
    device: str | None = None
    processes: Count | None = None


def document_of(parts: CheckpointParts, name: str, kind: type[T]) -> T:
    """A document of a checkpoint, held against its schema.

    Raises:
        CheckpointError: it is not there, or something in it is missing, unknown or of another type.
    """
    try:
        return checked(parts.document(name), kind, f"{name}.json", _OTHER)
    except StoreError as error:
        raise CheckpointError(f"{parts.where}: {error}") from error


def position_of(parts: CheckpointParts) -> dict[str, Any]:
    """Where the run was, and what it knows of its data; facts that are not there are left out.

    Raises:
        CheckpointError: it is damaged.
    """
    document = document_of(parts, POSITION, _PositionDocument)
    facts = msgspec.structs.asdict(document)
    return {name: value for name, value in facts.items() if value is not None}


def _data_spec(parts: CheckpointParts, where: str) -> DataSpec:
    try:
        return DataSpec.from_json(parts.document(DATA_SPEC))
    except DataError as error:
        raise CheckpointError(f"{where}: {DATA_SPEC}.json: {error}; {_OTHER}") from error


def _statistics(parts: CheckpointParts, spec: DataSpec, where: str) -> DatasetStatistics:
    """The statistics, of the shapes that the data have."""
    try:
        statistics = DatasetStatistics.from_json(parts.document(STATISTICS))
        statistics.require_fit(spec)
    except DataError as error:
        raise CheckpointError(f"{where}: {STATISTICS}.json: {error} {_OTHER}") from error
    return statistics


def build_selector(
    model: ModelConfig,
    inputs: ModelInputs,
    parts: CheckpointParts,
    selection: SelectionConfig,
    device: str,
) -> tuple[ChunkSelector, ChunkSpec]:
    """Networks from checkpoint parts, in evaluation mode; the critic only if it decides."""
    place = usable_device(device)
    networks = (model.policy, model.critic, model.encoder)
    require_memory_for_networks(*networks, there=memory_of(place))
    policy = build_policy(model, inputs)
    load_weights(policy, _policy_weights(policy, parts), parts.where)
    critic = None
    if selection.rule == "value":
        critic = build_critic(model, inputs, support_of(parts, model), policy)
        load_weights(critic, parts.weights(CRITIC), parts.where, frozen_names(critic))
        critic.eval().requires_grad_(False).to(place)
    policy.eval().requires_grad_(False).to(place)
    return ChunkSelector(policy, critic, selection), model.chunk


def _policy_weights(policy: ChunkPolicy, parts: CheckpointParts) -> dict[str, Tensor]:
    """The policy's tensors of a checkpoint; earlier ones know no correction."""
    return {"correction": torch.zeros_like(policy.correction), **parts.weights(POLICY)}


def _own_weights(critic: CriticEnsemble) -> dict[str, Tensor]:
    """Without the frozen image backbones, which it shares with the policy."""
    shared = frozen_names(critic)
    return {name: value for name, value in critic.state_dict().items() if name not in shared}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's moments and step counts, named "<parameter>.<slot>"."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{slot}": value for index, slots in state.items() for slot, value in slots.items()
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], where: str
) -> None:
    """Moments and step counts of the parameters that were updated at least once.

    Raises:
        CheckpointError: they belong to another network.
    """
    shapes = [tuple(p.shape) for group in optimizer.param_groups for p in group["params"]]
    slots = ("exp_avg", "exp_avg_sq")
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, slot = name.partition(".")
        known = index.isascii() and index.isdigit() and len(index) < 7 and int(index) < len(shapes)
        if not known or slot not in (*slots, "step"):
            raise CheckpointError(f"{where}: its optimiser has {name!r:.60}, which is not known")
        expected = shapes[int(index)] if slot in slots else ()
        if tuple(value.shape) != expected or not value.is_floating_point():
            raise CheckpointError(
                f"{where}: its optimiser has {name} of {value.dtype} and shape "
                f"{tuple(value.shape)}, expected numbers of shape {expected}"
            )
        state.setdefault(int(index), {})[slot] = value
    for index, found in state.items():
        if missing := sorted({*slots, "step"} - found.keys()):
            raise CheckpointError(f"{where}: its optimiser lacks {index}.{missing[0]}")
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
