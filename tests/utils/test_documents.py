"""JSON from outside: what is healthy reads as ever, and no fault raises anything but one error."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from damaged_documents import NOT_JSON
from hypothesis import given
from hypothesis import strategies as st

from softflow.errors import StoreError
from softflow.utils.documents import MAX_DEPTH, MAX_INTEGER, checked, parse_json
from softflow.utils.files import read_json, read_object
from softflow.utils.sealed_json import read_sealed, write_sealed

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_healthy_documents_read_as_python_reads_them(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_one_error(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_json(content)


@pytest.mark.parametrize("kind", NOT_JSON)
def test_what_is_no_json_names_its_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.json").write_bytes(NOT_JSON[kind])
    with pytest.raises(StoreError, match=r"x\.json' is damaged: it is not JSON") as told:
        read_json(tmp_path / "x.json")
    assert len(str(told.value)) < 1_000


def test_depth_is_bounded_where_it_is_said() -> None:
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(ValueError, match="deeper than 64 levels"):
        parse_json(b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2))


@pytest.mark.parametrize("content", [b"[]", b"3", b'"text"', b"null"])
def test_another_value_than_an_object(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(StoreError, match="expected a JSON object"):
        read_object(tmp_path / "x.json")


def test_long_files_are_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softflow.utils.documents.MAX_DOCUMENT_BYTES", 100)
    monkeypatch.setattr("softflow.utils.files.MAX_DOCUMENT_BYTES", 100)
    (tmp_path / "x.json").write_bytes(b" " * 10_000)
    with pytest.raises(StoreError, match="longer than 100 bytes"):
        read_json(tmp_path / "x.json")


class Inner(msgspec.Struct):
    number: int


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    parts: dict[str, list[Inner]]
    name: str = ""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"parts": {"a": [{"number": "x"}]}}, "got 'str'"),
        ({"parts": {}, "name": 3}, r"at 'name': expected 'str', got 'int' \(3\)"),
        ({"name": ""}, "missing required field 'parts'"),
        ({"parts": {}, "more": 1}, "unknown field 'more'"),
        ([], "expected 'object', got 'array'"),
    ],
)
def test_a_misfit_names_field_value_and_fix(value: Any, said: str) -> None:
    with pytest.raises(StoreError, match=said) as told:
        checked(value, Outer, "'it.json'", "delete it")
    assert str(told.value).startswith("'it.json' is damaged: ")
    assert str(told.value).endswith("; delete it")


@given(st.dictionaries(st.text().filter(lambda key: key != "sha256"), VALUES))
def test_a_sealed_object_survives(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "sealed.json"
    write_sealed(path, value)
    assert read_sealed(path) == (value, True)
    path.write_text(json.dumps(value))
    assert read_sealed(path) == (value, False)
