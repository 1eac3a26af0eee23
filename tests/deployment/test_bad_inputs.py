"""Bad inputs at the door: whatever a robot's program gives, a clear error, and nothing is lost.

Each is wrong in one way, the smallest one. Held elsewhere: keys, shapes and ranges one by one
(`tests/control/test_observation_checks.py`, 24), files of a checkpoint that were damaged byte by
byte (`tests/training/test_damaged_checkpoints.py`, 99), runs that go on and start anew
(`tests/training/continuing/test_bad_continuations.py`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edited_checkpoints import copied, edit
from point_world import PointWorld, write_demonstrations

import softflow
from softflow.data.data_spec import STATE_KEY
from softflow.errors import SoftflowError

GOOD = PointWorld().reset(seed=0)[0]
STATE = GOOD[STATE_KEY]


def seen(value: Any) -> dict[str, Any]:
    return {STATE_KEY: value}


OBSERVATIONS: dict[str, tuple[Any, str]] = {
    "what reset of an environment returns": (
        (GOOD, {}),
        r"is a tuple.*give the first of the two that reset\(\) returns",
    ),
    "what step of an environment returns": (
        (GOOD, 0.0, False, False, {}),
        r"is a tuple.*give the first of the five that step\(\) returns",
    ),
    "the state alone": (STATE, r"is a ndarray; give a dictionary with the keys observation.state"),
    "nothing": (None, r"is a NoneType; give a dictionary"),
    "no key": ({}, r"observation.state is missing.*It reads observation.state"),
    "a key of another robot": (
        {"observation.qpos": STATE},
        r"observation.state is missing.*observation.qpos is not in the training data",
    ),
    "a misspelt key": (
        {"observation.sate": STATE},
        r"observation.state is missing \(observation.sate is there\)",
    ),
    "keys without their prefix": ({"state": STATE}, r"observation.state is missing"),
    "a key that is a number": ({0: STATE}, r"observation.state is missing.*0 is not in"),
    "no value": (seen(None), r"observation.state is a NoneType; give a numpy array"),
    "one component too many": (seen(np.append(STATE, 0.0)), r"shape \(5,\), the training data \(4"),
    "one too few": (seen(STATE[:3]), r"shape \(3,\), the training data \(4,\)"),
    "an axis for a batch": (seen(STATE[None]), r"without an axis for a batch"),
    "a column": (seen(STATE[:, None]), r"shape \(4, 1\), the training data \(4,\)"),
    "a single number": (seen(0.5), r"shape \(\), the training data \(4,\)"),
    "whole numbers": (seen(np.zeros(4, np.int64)), r"is int64; give float32.*ticks of an encoder"),
    "truths": (seen(np.zeros(4, bool)), r"is bool; give float32"),
    "half precision": (seen(STATE.astype(np.float16)), r"is float16; give float32"),
    "complex numbers": (seen(STATE.astype(complex)), r"is complex128; give float32"),
    "objects": (seen(np.array([None] * 4)), r"is object; give float32"),
    "text": (seen("0.1 0.2 0.3 0.4"), r"is a str; give a numpy array"),
    "words": (seen(["a", "b", "c", "d"]), r"is <U1; give float32"),
    "rows of different length": (seen([[0.1, 0.2], [0.3]]), r"observation.state is no array: .*"),
    "a tensor": (seen(torch.from_numpy(STATE)), r"is a Tensor.*\.cpu\(\)\.numpy\(\)"),
    "NaN": (seen(np.array([0, np.nan, 0, 0.0])), r"observation.state\[1\].* is nan.*sensor"),
    "infinity": (seen(np.array([0, 0, -np.inf, 0])), r"observation.state\[2\].* is -inf.*sensor"),
    "beyond float32": (seen(np.array([0, 0, 0, 1e40])), r"observation.state\[3\].* is inf"),
    "masked numbers": (
        seen(np.ma.masked_array(STATE, [False, True, False, False])),
        r"observation.state has masked numbers.*sensor",
    ),
}


def require_clear(error: BaseException) -> None:
    """What is wrong in one or a few lines, of softflow's own errors."""
    assert isinstance(error, SoftflowError)
    assert 30 < len(str(error)) < 700, str(error)


@pytest.fixture(scope="module")
def policy(imitated: Path) -> Any:
    return softflow.load_policy(imitated)


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_an_observation_that_cannot_be_right(policy: Any, kind: str) -> None:
    """Whoever catches the error may ask for the same step again: the episode is as it was."""
    observation, message = OBSERVATIONS[kind]
    policy.reset(3)
    expected = [policy.act(GOOD) for _ in range(3)]
    policy.reset(3)
    for action in expected:
        with pytest.raises(SoftflowError, match=message) as refused:
            policy.act(observation)
        require_clear(refused.value)
        assert np.array_equal(policy.act(GOOD), action)
    with pytest.raises(SoftflowError):
        policy.plan(observation)


CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a prefix too short": (
        lambda policy: policy.plan(GOOD, np.zeros((0, 2))),
        r"prefix has shape \(0, 2\); give \(1, 2\)",
    ),
    "a prefix without its first axis": (
        lambda policy: policy.plan(GOOD, np.zeros(2)),
        r"prefix has shape \(2,\); give \(1, 2\)",
    ),
    "a prefix that is NaN": (
        lambda policy: policy.plan(GOOD, np.full((1, 2), np.nan)),
        r"prefix\[0, 0\].* is nan",
    ),
    "a prefix of words": (lambda policy: policy.plan(GOOD, "hold"), r"prefix is a str; give"),
    "a history too long": (
        lambda policy: policy.plan(seen(np.stack([STATE] * 3))),
        r"observation.state has shape \(3, 4\), the training data",
    ),
    "a history of one NaN": (
        lambda policy: policy.plan(seen(np.stack([STATE, STATE * np.nan]))),
        r"observation.state\[1, 0\].* is nan",
    ),
    "a chunk too short": (
        lambda policy: policy.log_prob(GOOD, np.zeros((3, 2))),
        r"chunk has shape \(3, 2\); give \(4, 2\)",
    ),
    "a chunk of another robot": (
        lambda policy: policy.log_prob(GOOD, np.zeros((4, 7))),
        r"chunk has shape \(4, 7\); give \(4, 2\)",
    ),
    "a chunk that is infinite": (
        lambda policy: policy.log_prob(GOOD, np.full((4, 2), np.inf)),
        r"chunk\[0, 0\].* is inf",
    ),
    "a chunk of whole numbers": (
        lambda policy: policy.log_prob(GOOD, np.zeros((4, 2), int)),
        r"chunk is int64; give float32",
    ),
    "no chunk": (lambda policy: policy.log_prob(GOOD, None), r"chunk is a NoneType; give"),
    "a seed below 0": (lambda policy: policy.reset(-1), r"seed is -1; it must lie in \[0, 2"),
    "a seed too large": (lambda policy: policy.reset(2**63), r"seed is 9223372036854775808; it"),
    "half a seed": (lambda policy: policy.reset(0.5), r"seed is 0.5; give a whole number"),
    "a seed of letters": (lambda policy: policy.reset("a"), r"seed is 'a'; give a whole number"),
    "an observation for a seed": (
        lambda policy: policy.reset(GOOD),
        r"seed is a dict; give a whole number",
    ),
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_that_cannot_be_right(policy: Any, kind: str) -> None:
    call, message = CALLS[kind]
    policy.reset(1)
    first = policy.act(GOOD)
    with pytest.raises(SoftflowError, match=message) as refused:
        call(policy)
    require_clear(refused.value)
    policy.reset(1)
    assert np.array_equal(policy.act(GOOD), first)


# ---- where it is read from ----------------------------------------------------------------------


def checkpoint_of(run: Path) -> Path:
    return (run / "checkpoints/last").resolve()


def alone(run: Path, folder: Path) -> Path:
    """Its `pretrained_model/`, copied away."""
    shutil.copytree(checkpoint_of(run) / "pretrained_model", folder / "alone")
    return folder / "alone"


def truncated(run: Path, folder: Path) -> Path:
    place = alone(run, folder)
    weights = place / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return place


def without(run: Path, folder: Path, name: str) -> Path:
    place = alone(run, folder)
    (place / name).unlink()
    return place


def edited(run: Path, folder: Path, name: str, change: Callable[[Any], Any]) -> Path:
    place = copied(checkpoint_of(run), folder / "edited")
    edit(place, name, change)
    return place


def run_without_checkpoints(run: Path, folder: Path) -> Path:
    (folder / "run").mkdir()
    (folder / "run/config.json").write_text("{}")
    shutil.copy(run / "metrics.csv", folder / "run")
    return folder / "run"


def text_file(_: Path, folder: Path) -> Path:
    (folder / "policy.pt").write_text("not a folder")
    return folder / "policy.pt"


PLACES: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "nothing there": (
        lambda _, folder: folder / "nowhere",
        r"holds no policy: there is nothing of that name; check",
    ),
    "an empty path": (lambda *_: "", r"the path is empty; give"),
    "no path": (lambda *_: None, r"the path is a NoneType; give the folder of a run"),
    "a file of weights": (text_file, r"holds no policy: .*RUN/checkpoints/last"),
    "an empty folder": (lambda _, folder: folder, r"holds no policy: .*RUN/checkpoints/last"),
    "an episode store": (
        lambda _, folder: write_demonstrations(folder / "store", (True,)),
        r"is an episode store.*softflow train",
    ),
    "a run that has not begun": (
        run_without_checkpoints,
        r"has no checkpoint yet.*softflow train",
    ),
    "a folder of checkpoints": (
        lambda run, _: run / "checkpoints",
        r"holds checkpoints; give one of them.*last",
    ),
    "weights cut off": (truncated, r"model.safetensors is missing or altered"),
    "weights gone": (
        lambda run, folder: without(run, folder, "model.safetensors"),
        r"model.safetensors is missing or altered",
    ),
    "its manifest gone": (
        lambda run, folder: without(run, folder, "MANIFEST.json"),
        r"holds no policy",
    ),
    "a configuration that is none": (
        lambda run, folder: edited(run, folder, "pretrained_model/config.json", lambda _: [1]),
        r"TrainingConfig.*it is a list, expected an object",
    ),
    "a network that nobody has": (
        lambda run, folder: edited(
            run,
            folder,
            "pretrained_model/config.json",
            lambda config: json.loads(json.dumps(config).replace('"flow"', '"flown"')),
        ),
        r"flown",
    ),
    "normalisation of other data": (
        lambda run, folder: edited(
            run,
            folder,
            "pretrained_model/data_spec.json",
            lambda spec: json.loads(json.dumps(spec).replace("[4]", "[5]").replace("[\n4", "[5")),
        ),
        r"observation.state",
    ),
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_place_that_holds_no_policy(imitated: Path, tmp_path: Path, kind: str) -> None:
    make, message = PLACES[kind]
    place = make(imitated, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(SoftflowError, match=message) as refused:
        softflow.load_policy(place)
    require_clear(refused.value)
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown rule": ({"rule": "best"}, r"rule is 'best'; choose \"auto\", \"value\""),
    "by value without a critic": ({"rule": "value"}, r"had no update yet.*critic_warmup first"),
    "another word for newest": ({"which": "last"}, r"which is 'last'; choose \"newest\" or"),
    "a seed below 0": ({"seed": -1}, r"seed is -1; it must lie in"),
    "a seed of letters": ({"seed": "a"}, r"seed is 'a'; give a whole number"),
    "a device nobody has": ({"device": "gpu"}, r"device.*gpu"),
    "a device that is not there": ({"device": "cuda:99"}, r"cuda:99"),
    "no device": ({"device": ""}, r"device"),
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_an_option_that_cannot_be(imitated: Path, kind: str) -> None:
    options, message = OPTIONS[kind]
    with pytest.raises(SoftflowError, match=message) as refused:
        softflow.load_policy(imitated, **options)
    require_clear(refused.value)


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len(OBSERVATIONS) + len(CALLS) + len(PLACES) + len(OPTIONS) >= 60
