"""Checkpoints: what goes in comes out, and nothing damaged, newer or foreign is accepted."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import CheckpointError, StoreError
from softflow.models.checkpoint import (
    FORMAT_VERSION,
    LAST,
    MANIFEST,
    CheckpointParts,
    last_checkpoint,
    load_weights,
    prune_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from softflow.models.critic import CriticEnsemble
from softflow.models.policies.flow_policy import ActionFlow, FlowPolicy

FILES = [
    "pretrained_model/model.safetensors",
    "pretrained_model/config.json",
    "algorithm/critic.safetensors",
    "training_state/position.json",
]


def small_parts(index: int = 1) -> CheckpointParts:
    """Contents that say which checkpoint they belong to."""
    return CheckpointParts(
        tensors={
            "pretrained_model/model": {"weight": torch.full((3, 2), float(index))},
            "algorithm/critic": {"bias": torch.full((2,), float(index)).double()},
        },
        documents={
            "pretrained_model/config": {"seed": index, "name": "σ"},
            "training_state/position": {"update_step": index},
        },
    )


def assert_equal(actual: CheckpointParts, expected: CheckpointParts) -> None:
    assert actual.documents == expected.documents
    assert actual.tensors.keys() == expected.tensors.keys()
    for key, tensors in expected.tensors.items():
        assert actual.tensors[key].keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert actual.tensors[key][name].dtype == tensor.dtype
            torch.testing.assert_close(actual.tensors[key][name], tensor, rtol=0, atol=0)


def names_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    parts = small_parts()
    parts.tensors["training_state/optimizer"] = {
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "integers": torch.tensor([2**40, -1]),
        "flags": torch.tensor([True, False]),
        "half": torch.tensor([0.1], dtype=torch.bfloat16),
        "view": torch.arange(12.0).view(3, 4).T,
        "extremes": torch.tensor([torch.inf, -0.0, 1e-45]),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    folder = write_checkpoint(tmp_path / "checkpoints", "000001", parts)
    assert folder == tmp_path / "checkpoints" / "000001"
    parts.tensors["training_state/optimizer"]["parameter"] = torch.ones(2)
    assert_equal(read_checkpoint(folder), parts)
    assert_equal(read_checkpoint(tmp_path / "checkpoints" / LAST), parts)


def test_reading_a_part_reads_no_more(tmp_path: Path) -> None:
    """Acting needs the policy alone; damage elsewhere does not stop the robot."""
    folder = write_checkpoint(tmp_path, "000001", small_parts())
    (folder / "algorithm/critic.safetensors").write_bytes(b"damaged")
    parts = read_checkpoint(folder, ("pretrained_model/",))
    assert set(parts.tensors) == {"pretrained_model/model"}
    assert set(parts.documents) == {"pretrained_model/config"}
    with pytest.raises(CheckpointError, match=r"algorithm/critic\.safetensors"):
        read_checkpoint(folder)


def test_last_points_to_the_newest(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "none") is None
    assert last_checkpoint(tmp_path) is None
    for index in (1, 2, 3):
        folder = write_checkpoint(tmp_path, f"{index:06d}", small_parts(index))
        assert (tmp_path / LAST).is_symlink()
        assert last_checkpoint(tmp_path) == folder.resolve()
    assert names_in(tmp_path) == ["000001", "000002", "000003", LAST]


def test_the_run_folder_can_be_moved(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "here", "000001", small_parts())
    (tmp_path / "here").rename(tmp_path / "there")
    last = last_checkpoint(tmp_path / "there")
    assert last is not None
    assert_equal(read_checkpoint(last), small_parts())


@pytest.mark.parametrize("link", ["absent", "dangling"])
def test_without_a_link_the_newest_folder_counts(tmp_path: Path, link: str) -> None:
    for index in (1, 2):
        write_checkpoint(tmp_path, f"{index:06d}", small_parts(index))
    (tmp_path / LAST).unlink()
    if link == "dangling":
        (tmp_path / LAST).symlink_to("000009")
    (tmp_path / ".tmp-000003").mkdir()
    (tmp_path / ".tmp-000003" / MANIFEST).write_text("{}")
    (tmp_path / "zzz_not_a_checkpoint").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "000002"


def test_a_copy_that_made_a_folder_of_the_link_goes_on(tmp_path: Path) -> None:
    """As `cp -rL` and archives without links do."""
    first = write_checkpoint(tmp_path, "000001", small_parts())
    (tmp_path / LAST).unlink()
    shutil.copytree(first, tmp_path / LAST)
    assert_equal(read_checkpoint(tmp_path / LAST), small_parts())
    write_checkpoint(tmp_path, "000002", small_parts(2))
    assert names_in(tmp_path) == ["000001", "000002", LAST]
    assert_equal(read_checkpoint(tmp_path / LAST), small_parts(2))


def test_the_same_name_is_replaced(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "000001", small_parts(1))
    (tmp_path / "000001" / "stray").write_text("of the old one")
    folder = write_checkpoint(tmp_path, "000001", small_parts(2))
    assert_equal(read_checkpoint(folder), small_parts(2))
    assert not (folder / "stray").exists()
    assert names_in(tmp_path) == ["000001", LAST]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / ".tmp-000001" / "pretrained_model"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".tmp-last").symlink_to("000001")
    write_checkpoint(tmp_path, "000002", small_parts())
    assert names_in(tmp_path) == ["000002", LAST]


@pytest.mark.parametrize(
    ("keep", "protected", "expected"),
    [
        (2, frozenset(), ["000004", "000005"]),
        (1, frozenset({"000002"}), ["000002", "000005"]),
        (2, frozenset({"000005", "unheard_of"}), ["000004", "000005"]),
        (9, frozenset(), ["000001", "000002", "000003", "000004", "000005"]),
    ],
)
def test_pruning_keeps_the_newest_and_the_protected(
    tmp_path: Path, keep: int, protected: frozenset[str], expected: list[str]
) -> None:
    for index in range(1, 6):
        write_checkpoint(tmp_path, f"{index:06d}", small_parts(index))
    (tmp_path / "notes").mkdir()
    prune_checkpoints(tmp_path, keep, protected)
    assert names_in(tmp_path) == [*expected, LAST, "notes"]
    for name in expected:
        assert_equal(read_checkpoint(tmp_path / name), small_parts(int(name)))
    assert last_checkpoint(tmp_path) == (tmp_path / "000005").resolve()


def test_pruning_to_none_keeps_at_most_the_last(tmp_path: Path) -> None:
    for index in (1, 2):
        write_checkpoint(tmp_path, f"{index:06d}", small_parts(index))
    prune_checkpoints(tmp_path, 0)
    assert "000001" not in names_in(tmp_path)


def test_pruning_never_deletes_what_last_points_to(tmp_path: Path) -> None:
    """Two kills between rename and link leave later-named checkpoints that the run is behind."""
    for index in (2, 3, 1):
        write_checkpoint(tmp_path, f"{index:06d}", small_parts(index))
    prune_checkpoints(tmp_path, 2)
    assert (tmp_path / LAST).resolve() == (tmp_path / "000001").resolve()
    assert_equal(read_checkpoint(tmp_path / LAST), small_parts(1))


@pytest.mark.parametrize("relative", FILES)
def test_a_damaged_byte_anywhere_is_noticed(tmp_path: Path, relative: str) -> None:
    """Every byte of every file, one at a time; the error names the file and says what to do."""
    folder = write_checkpoint(tmp_path, "000001", small_parts())
    path = folder / relative
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(folder)
        assert str(folder) in str(caught.value)
        assert relative in str(caught.value)
        assert "goes on from the checkpoint before it" in str(caught.value)
    path.write_bytes(whole)
    assert_equal(read_checkpoint(folder), small_parts())


def test_a_damaged_byte_in_the_manifest_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Whitespace carries nothing; whatever is still read is what was written."""
    folder = write_checkpoint(tmp_path, "000001", small_parts())
    path = folder / MANIFEST
    whole = path.read_bytes()
    noticed = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            parts = read_checkpoint(folder)
        except CheckpointError as error:
            noticed += str(folder) in str(error)
        else:
            assert_equal(parts, small_parts())
            noticed += whole[position : position + 1].isspace()
    assert noticed >= len(whole) - 1, "at most the format version may turn older"


def test_a_damaged_manifest_never_hides_a_file_from_a_partial_read(tmp_path: Path) -> None:
    """Reading what acting needs: all of it, or an error; not silently without the weights."""
    folder = write_checkpoint(tmp_path, "000001", small_parts())
    path = folder / MANIFEST
    path.write_bytes(
        path.read_bytes().replace(b"pretrained_model/model", b"pretrainee_model/model")
    )
    with pytest.raises(CheckpointError):
        read_checkpoint(folder, ("pretrained_model/",))


@pytest.mark.parametrize("relative", [*FILES, MANIFEST])
@pytest.mark.parametrize("keep_share", [0.0, 0.5])
def test_a_truncated_file_is_noticed(tmp_path: Path, relative: str, keep_share: float) -> None:
    folder = write_checkpoint(tmp_path, "000001", small_parts())
    path = folder / relative
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep_share * len(whole))])
    with pytest.raises(CheckpointError, match=Path(relative).name):
        read_checkpoint(folder)


@pytest.mark.parametrize("relative", FILES)
def test_a_missing_file_is_named(tmp_path: Path, relative: str) -> None:
    folder = write_checkpoint(tmp_path, "000001", small_parts())
    (folder / relative).unlink()
    with pytest.raises(CheckpointError, match=rf"{relative} is missing or altered"):
        read_checkpoint(folder)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CheckpointError, match=r"is not a checkpoint \(it has no MANIFEST"):
            read_checkpoint(folder)


def rewrite_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_a_newer_format_is_refused_with_the_fix(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "000001", small_parts())
    newer = FORMAT_VERSION + 1
    rewrite_manifest(folder, lambda manifest: manifest.update(format_version=newer))
    with pytest.raises(CheckpointError, match=rf"format {newer}, .* reads up to {FORMAT_VERSION}"):
        read_checkpoint(folder)
    rewrite_manifest(folder, lambda manifest: manifest.update(format_version=FORMAT_VERSION))
    assert_equal(read_checkpoint(folder), small_parts())


@pytest.mark.parametrize("key", ["format_version", "files"])
def test_a_manifest_without_its_fields_is_refused(tmp_path: Path, key: str) -> None:
    folder = write_checkpoint(tmp_path, "000001", small_parts())
    rewrite_manifest(folder, lambda manifest: manifest.pop(key))
    with pytest.raises(CheckpointError, match=rf"{MANIFEST}: .*{key}"):
        read_checkpoint(folder)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"text"'])
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    folder = write_checkpoint(tmp_path, "000001", small_parts())
    (folder / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match=MANIFEST):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    "text",
    [
        '{"format_version": "1", "files": {}}',
        '{"format_version": 1, "files": []}',
        '{"format_version": null, "files": {}}',
    ],
)
def test_a_manifest_with_fields_of_another_type_is_refused(tmp_path: Path, text: str) -> None:
    folder = write_checkpoint(tmp_path, "000001", small_parts())
    (folder / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match=MANIFEST):
        read_checkpoint(folder)


def test_weights_of_other_dimensions_are_named(make_flow: Callable[..., ActionFlow]) -> None:
    theirs = make_flow(4, 3, 2).state_dict()
    with pytest.raises(CheckpointError) as caught:
        load_weights(make_flow(4, 2, 2), theirs, "runs/x")
    message = str(caught.value)
    assert message.startswith("runs/x was made for other dimensions than this configuration")
    name = "couplings.0.network.embed.weight"
    assert f"{name} has shape (8, 3), expected (8, 2)" in message
    assert "; and 7 more" in message


def test_missing_and_unknown_weights_are_named() -> None:
    module = torch.nn.Linear(2, 2)
    before = module.weight.detach().clone()
    with pytest.raises(CheckpointError, match=r"bias is missing; gain is unknown here"):
        load_weights(module, {"weight": torch.zeros(2, 2), "gain": torch.ones(1)}, "x")
    torch.testing.assert_close(module.weight.detach(), before, rtol=0, atol=0)


@pytest.mark.parametrize("chunk_length", [1, 5])
def test_networks_survive_the_disk(
    tmp_path: Path,
    make_policy: Callable[..., FlowPolicy],
    make_critic: Callable[..., CriticEnsemble],
    make_observation: Callable[..., tuple[dict[str, Tensor], Tensor]],
    make_actions: Callable[..., Tensor],
    chunk_length: int,
) -> None:
    """Bit for bit the same likelihoods and values from freshly built networks."""
    chunk = ChunkSpec(chunk_length, 1, prefix_length=1)
    policy, critic = make_policy(chunk, seed=1), make_critic(chunk, seed=1)
    folder = write_checkpoint(
        tmp_path,
        "000001",
        CheckpointParts({"model": policy.state_dict(), "critic": critic.state_dict()}),
    )
    parts = read_checkpoint(folder)
    other_policy, other_critic = make_policy(chunk, seed=2), make_critic(chunk, seed=2)
    load_weights(other_policy, parts.tensors["model"], "x")
    load_weights(other_critic, parts.tensors["critic"], "x")
    observation, prefix = make_observation(chunk, batch=2)
    actions = make_actions((2, 3, chunk_length, 2))

    def results(policy: FlowPolicy, critic: CriticEnsemble) -> tuple[Tensor, Tensor]:
        condition = policy.condition(observation, prefix)
        tokens = critic.encoder(observation, prefix)
        return policy.flow.log_prob(actions, condition), critic.values(tokens, actions)

    expected, actual = results(policy, critic), results(other_policy, other_critic)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def refuse_pickle(*_: object, **__: object) -> None:
    raise AssertionError("pickle was used")


def test_no_pickle_is_written_or_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is JSON, or a header of JSON followed by exactly the tensors it declares."""
    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse_pickle)
    folder = write_checkpoint(tmp_path, "000001", small_parts())
    read_checkpoint(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sorted(str(p.relative_to(folder)) for p in files) == sorted(
        [*FILES, MANIFEST, f"pretrained_model/{MANIFEST}"]
    )
    for path in files:
        payload = path.read_bytes()
        if path.suffix == ".json":
            json.loads(payload)
            continue
        (size,) = struct.unpack("<Q", payload[:8])
        header = json.loads(payload[8 : 8 + size])
        ends = [entry["data_offsets"][1] for entry in header.values()]
        assert 8 + size + max(ends) == len(payload)


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_what_has_no_json_form_leaves_nothing_behind(tmp_path: Path, value: object) -> None:
    write_checkpoint(tmp_path, "000001", small_parts())
    parts = small_parts(2)
    parts.documents["training_state/position"] = {"loss": value}
    with pytest.raises(StoreError, match=r"position\.json.*no JSON form"):
        write_checkpoint(tmp_path, "000002", parts)
    assert names_in(tmp_path) == ["000001", LAST]
    assert_equal(read_checkpoint(tmp_path / LAST), small_parts(1))


def test_a_root_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="checkpoint"):
        write_checkpoint(tmp_path / "file" / "checkpoints", "000001", small_parts())
