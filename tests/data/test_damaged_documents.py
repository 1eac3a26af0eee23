"""store.json and labels: no flipped bit is silent, and whatever else stands there is told of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from damaged_documents import NOT_JSON, as_bytes, flipped_bits, mutations
from point_world import demonstration, point_spec

from softflow.data.episode_store import EpisodeStore
from softflow.data.files.store_identity import read_identity_of
from softflow.data.labels import Event, Label, read_label
from softflow.errors import SoftflowError, StoreError
from softflow.utils.sealed_json import read_sealed, write_sealed

SHORT_MESSAGE = 1_500
SPEC = replace(point_spec(), names={"action": ("x", "y")})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "store"
    with EpisodeStore.create(path, SPEC) as made:
        made.append(demonstration(1, towards_goal=True))
        made.label(0, Label("anna", (Event(1, "reward", 0.5), Event(3, "success", 1.0))))
    return path


@pytest.fixture(params=["store.json", "label"])
def document(request: pytest.FixtureRequest, store: Path) -> Any:
    """A file that is whole again afterwards."""
    path = store / "store.json"
    if request.param == "label":
        (path,) = (store / "labels").iterdir()
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


def is_told(document: Path) -> bool:
    """Whether reading raises one error of softflow's, short, and naming the file."""
    try:
        if document.name == "store.json":
            read_identity_of(document.parent)
        else:
            read_label(document)
    except SoftflowError as error:
        said = str(error)
    else:
        return False
    assert document.name in said
    assert len(said) < SHORT_MESSAGE
    return True


def test_no_flipped_bit_is_silent(document: Path) -> None:
    """Before, 184 of 1,640 were."""
    silent = 0
    for content in flipped_bits(document.read_bytes()):
        document.write_bytes(content)
        silent += not is_told(document)
    assert silent == 0


def test_no_missing_end_is_silent(document: Path) -> None:
    content = document.read_bytes()
    for length in range(len(content) - 1):
        document.write_bytes(content[:length])
        assert is_told(document)


@pytest.mark.parametrize("kind", NOT_JSON)
def test_what_is_no_json_is_told(document: Path, kind: str) -> None:
    document.write_bytes(NOT_JSON[kind])
    assert is_told(document)


@pytest.mark.parametrize("seal", [as_bytes, None], ids=["unsealed", "sealed"])
def test_another_value_is_told_or_means_the_same_kind(
    document: Path, seal: Callable[[Any], bytes] | None
) -> None:
    """Without a checksum, and by somebody who makes a right one, every place gets every value."""
    value, _ = read_sealed(document)
    told = 0
    for _, changed in mutations(value):
        if seal is None and isinstance(changed, dict):
            write_sealed(document, changed)
        else:
            document.write_bytes(as_bytes(changed))
        told += is_told(document)
    assert told > 150


def test_an_edit_is_told_and_can_be_meant(store: Path) -> None:
    path = store / "store.json"
    content = path.read_text()
    edited = content.replace('"control_hz": 10.0', '"control_hz": 20.0')
    path.write_text(edited)
    with pytest.raises(StoreError, match=r"does not match its checksum.*remove its line .sha256."):
        EpisodeStore.open(store)
    lines = [line for line in edited.splitlines() if '"sha256"' not in line]
    path.write_text("\n".join(lines))
    assert EpisodeStore.open(store).spec.control_hz == 20.0
    EpisodeStore.open(store, writable=True).close()
    assert "sha256" in json.loads(path.read_text()), "the next writer seals it"
    assert EpisodeStore.open(store).spec.control_hz == 20.0
    path.write_text(content)
