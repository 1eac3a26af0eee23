"""A checkpoint whose manifest is valid may still hold anything: every fault is one clear error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from damaged_documents import NOT_JSON, mutations
from edited_checkpoints import copied, seal
from point_world import tiny_config
from safetensors.torch import load_file, save_file

from softflow.deployment.deployed_policy import load_policy
from softflow.errors import CheckpointError, SoftflowError
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import MANIFEST, read_checkpoint, weights_identity
from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.training.config import TrainingConfig
from softflow.training.persistence import (
    PROGRESS,
    config_from_json,
    config_to_json,
    load_selector,
    read_run_facts,
    restore_learner,
)
from softflow.training.run import Run
from softflow.utils.progress import SilentProgress

DOCUMENTS = (
    "pretrained_model/config",
    "pretrained_model/data_spec",
    "pretrained_model/statistics",
    PROGRESS,
    "algorithm/value_support",
    "training_state/position",
)
TENSORS = (
    "pretrained_model/model",
    "algorithm/critic",
    "algorithm/target_critic",
    "training_state/policy_optimizer",
    "training_state/critic_optimizer",
)


@pytest.fixture(scope="module")
def run(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run whose networks were both updated once."""
    run = Run(tmp_path_factory.mktemp("run"), tiny_config(), demonstrations, None, SilentProgress())
    sampler = ChunkSampler(run.data.demonstrations, batch_size=4, seed=0, stream="test")
    run.learner.imitation_update(sampler.batch(0))
    run.learner.critic_update(sampler.batch(0), run.config.critic_warmup)
    run.save()
    yield run
    run.close()


@pytest.fixture(scope="module")
def whole(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "theirs"
    return copied(run.folder / "checkpoints/last", folder)


@pytest.fixture
def theirs(whole: Path, tmp_path: Path) -> Path:
    return copied(whole, tmp_path / "theirs")


def use(run: Run, checkpoint: Path) -> None:
    """Everything that is done with a checkpoint."""
    read_run_facts(checkpoint)
    weights_identity(checkpoint)
    load_selector(checkpoint, SelectionConfig(2))
    load_policy(checkpoint)
    restore_learner(run.learner, read_checkpoint(checkpoint), str(checkpoint))


def is_told(run: Run, checkpoint: Path) -> bool:
    try:
        use(run, checkpoint)
    except SoftflowError as error:
        said = str(error)
    else:
        return False
    assert checkpoint.name in said
    assert len(said) < 3_000
    return True


def test_whole_it_is_used(run: Run, theirs: Path) -> None:
    use(run, theirs)


@pytest.mark.parametrize("name", [*(f"{n}.json" for n in DOCUMENTS), MANIFEST])
def test_what_is_no_json_is_told(run: Run, theirs: Path, name: str) -> None:
    for content in NOT_JSON.values():
        (theirs / name).write_bytes(content)
        if name != MANIFEST:
            seal(theirs)
        assert is_told(run, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_with_other_values(run: Run, theirs: Path, name: str) -> None:
    """Each is told of or means a checkpoint that can be used; none raises anything else."""
    path = theirs / f"{name}.json"
    told = total = 0
    some = list(mutations(json.loads(path.read_text())))
    for _, changed in some[:: 1 + len(some) // 150]:
        path.write_text(json.dumps(changed))
        seal(theirs)
        told += is_told(run, theirs)
        total += 1
    assert told > 0.5 * total


def test_manifests_with_other_values(run: Run, theirs: Path) -> None:
    manifest = json.loads((theirs / MANIFEST).read_text())
    for _, changed in mutations(manifest):
        (theirs / MANIFEST).write_text(json.dumps(changed))
        assert is_told(run, theirs)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.json",
        "/etc/passwd",
        "pretrained_model/../../secret.json",
        "pretrained_model/\x1b[31m.json",
        "a" * 5_000,
        "",
        ".",
    ],
)
def test_nothing_outside_is_read(theirs: Path, name: str) -> None:
    (theirs.parent / "secret.json").write_text("{}")
    manifest = json.loads((theirs / MANIFEST).read_text())
    seal(theirs, manifest["files"] | {name: "0" * 64})
    with pytest.raises(CheckpointError, match="names the file"):
        read_checkpoint(theirs)


def test_no_link_leads_outside(theirs: Path) -> None:
    path = theirs / "pretrained_model/config.json"
    path.rename(theirs.parent / "config.json")
    path.symlink_to(theirs.parent / "config.json")
    with pytest.raises(CheckpointError, match="link that leads out"):
        read_checkpoint(theirs)


def without(name: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tensors.items() if key != name}


CHANGES: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
    "missing": without,
    "one more": lambda name, tensors: tensors | {"more": torch.zeros(1)},
    "another name": lambda name, tensors: without(name, tensors) | {"9.9.9": tensors[name]},
    "another shape": lambda name, tensors: tensors | {name: torch.zeros(3, 1, 2)},
    "a number": lambda name, tensors: tensors | {name: torch.zeros((), dtype=torch.int64)},
    "nothing": lambda name, tensors: tensors | {name: torch.zeros(0)},
    "integers": lambda name, tensors: tensors | {name: tensors[name].to(torch.int8)},
    "complex": lambda name, tensors: tensors | {name: tensors[name].to(torch.complex64)},
    "half": lambda name, tensors: tensors | {name: tensors[name].to(torch.bfloat16)},
}


@pytest.mark.parametrize("part", TENSORS)
@pytest.mark.parametrize("kind", CHANGES)
def test_other_tensors_are_told(run: Run, theirs: Path, part: str, kind: str) -> None:
    path = theirs / f"{part}.safetensors"
    tensors = load_file(path)
    first = next(name for name in sorted(tensors) if tensors[name].is_floating_point())
    save_file(CHANGES[kind](first, dict(tensors)), path)
    seal(theirs)
    optional = part.startswith("training_state") and kind == "half"
    assert is_told(run, theirs) or optional


@pytest.mark.parametrize("part", sorted({*DOCUMENTS, *TENSORS} - {PROGRESS}))  # 0.1 had none
def test_missing_parts_are_told(run: Run, theirs: Path, part: str) -> None:
    for ending in (".json", ".safetensors"):
        (theirs / f"{part}{ending}").unlink(missing_ok=True)
    seal(theirs)
    with pytest.raises(CheckpointError, match=f"has no {part}"):
        use(run, theirs)


@pytest.mark.parametrize("part", TENSORS)
@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\0" * 8, b"\x02" + b"\0" * 7 + b"{}"])
def test_files_that_are_no_tensors(run: Run, theirs: Path, part: str, content: bytes) -> None:
    (theirs / f"{part}.safetensors").write_bytes(content)
    seal(theirs)
    never_updated = content.endswith(b"{}") and "optimizer" in part
    assert is_told(run, theirs) or never_updated


def test_configurations_with_other_values() -> None:
    """Every place gets every value: a configuration, or an error of softflow."""
    made = refused = 0
    for _, changed in mutations(json.loads(json.dumps(config_to_json(tiny_config())))):
        try:
            config_from_json(TrainingConfig, changed, "theirs")
        except SoftflowError as error:
            refused += len(str(error)) < 1_500
        else:
            made += 1
    assert refused > 800
    assert made < 250
