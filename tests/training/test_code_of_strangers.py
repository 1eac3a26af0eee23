"""No data set and no checkpoint makes softflow import a module; a word of the user does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edited_checkpoints import copied, edit
from gaussian_policy import GaussianConfig
from point_world import demonstration, point_spec, tiny_config
from runs_compared import as_overrides

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.envs.registry import make_env
from softflow.errors import UntrustedImportError
from softflow.models.action_selection import SelectionConfig
from softflow.models.critic import CRITICS
from softflow.models.encoder import ENCODERS
from softflow.models.policy import POLICIES
from softflow.training.persistence import load_selector, read_run_facts
from softflow.training.rollouts import RolloutPool
from softflow.training.run import Run
from softflow.utils import imports
from softflow.utils.imports import trust
from softflow.utils.progress import SilentProgress

CODE = """
from pathlib import Path
(Path(__file__).parent / "executed").touch()
from point_world import PointWorld
from gaussian_policy import GaussianPolicy
"""
Refusals = Callable[..., str]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`stranger.py`, importable, and the file that its execution leaves; only this test's trust."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "stranger.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(imports, "_trusted", set())
    yield folder / "executed"
    sys.modules.pop("stranger", None)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refusals:
    """`refused(words…)`: what a command says that ends with status 2."""

    def run(*words: object) -> str:
        assert main([str(word) for word in words]) == 2
        return capsys.readouterr().err

    return run


def store_of(path: Path, env_id: str) -> Path:
    with EpisodeStore.create(path, replace(point_spec(), env_id=env_id)) as store:
        store.append(demonstration(1, towards_goal=True))
    return path


@pytest.fixture(scope="module")
def checkpoint(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = Run(tmp_path_factory.mktemp("run"), tiny_config(), demonstrations, None, SilentProgress())
    path = run.save()
    run.close()
    return path


@pytest.mark.parametrize("env_id", ["stranger:PointWorld", "os:abort", "stranger.deeper:make", ":"])
def test_the_environment_of_a_data_set_is_not_imported(
    refused: Refusals, code: Path, tmp_path: Path, env_id: str
) -> None:
    store = store_of(tmp_path / "data", env_id)
    said = refused("train", "small", "--dataset", store, "--run", tmp_path / "run", *as_overrides())
    assert f"runs the code of the module '{env_id.partition(':')[0]}'" in said
    assert f"--env {env_id}" in said
    assert not code.exists()
    assert not (tmp_path / "run").exists()


def test_the_word_of_the_user_must_be_the_same(
    refused: Refusals, code: Path, tmp_path: Path
) -> None:
    store = store_of(tmp_path / "data", "stranger:PointWorld")
    words = ("train", "small", "--dataset", store, "--run", tmp_path / "run", *as_overrides())
    said = refused(*words, "--env", "point_world:PointWorld")
    assert "names the environment 'stranger:PointWorld'" in said
    assert not code.exists()
    make = make_env
    with pytest.raises(UntrustedImportError):
        make("stranger:PointWorld")
    trust("stranger:PointWorld")
    make("stranger:PointWorld")
    assert code.exists()


@pytest.mark.slow
def test_workers_import_what_their_parent_trusts_and_nothing_else(
    code: Path, tmp_path: Path
) -> None:
    with RolloutPool(1) as pool:
        with pytest.raises(UntrustedImportError, match="--env stranger:PointWorld"):
            pool.environment_spec("stranger:PointWorld", None)
        assert not code.exists()
        trust("stranger:PointWorld")
        assert pool.environment_spec("stranger:PointWorld", None).action_dim == 2


@pytest.mark.parametrize("part", ["policy", "critic", "encoder"])
def test_the_networks_of_a_checkpoint_are_not_imported(
    refused: Refusals, code: Path, checkpoint: Path, tmp_path: Path, part: str
) -> None:
    theirs = copied(checkpoint, tmp_path / "checkpoints" / "theirs")

    def renamed(config: dict[str, Any]) -> dict[str, Any]:
        config["model"][part] = {"kind": "stranger:GaussianPolicy"}
        return config

    edit(theirs, "pretrained_model/config.json", renamed)
    for read in (read_run_facts, lambda path: load_selector(path, SelectionConfig(2))):
        with pytest.raises(UntrustedImportError, match=f"--{part} stranger:GaussianPolicy"):
            read(theirs)
    said = refused("evaluate", theirs, "--episodes", 1)
    assert f"{theirs}: the {part} is named by its import path" in said
    assert not code.exists()
    assert not (tmp_path / "evaluations").exists()


def test_the_environment_of_a_checkpoint_is_not_imported(
    refused: Refusals, code: Path, checkpoint: Path, tmp_path: Path
) -> None:
    theirs = copied(checkpoint, tmp_path / "checkpoints" / "theirs")
    edit(
        theirs,
        "pretrained_model/data_spec.json",
        lambda spec: spec | {"env_id": "stranger:PointWorld"},
    )
    assert "--env stranger:PointWorld" in refused("evaluate", theirs, "--episodes", 1)
    said = refused("evaluate", theirs, "--episodes", 1, "--policy", "my:Policy")
    assert "the policy of" in said
    assert "'flow'" in said
    assert not code.exists()


def test_the_configuration_of_a_run_imports_nothing(
    refused: Refusals, code: Path, demonstrations: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    config = tiny_config(eval_episodes=0)
    Run(folder, config, demonstrations, None, SilentProgress()).files.close()
    words = ("train", "small", "--dataset", demonstrations, "--run", folder, "--eval-episodes", "0")
    stages = ("--stages", "imitation")
    theirs = '{"model": {"policy": {"kind": "stranger:GaussianPolicy"}}}'
    (folder / "config.json").write_text(theirs)
    run = Run(folder, config, demonstrations, None, SilentProgress())
    run.save()
    run.close()
    refused(*words, *stages)
    assert not code.exists()


def test_what_python_has_imported_already_needs_no_word(code: Path) -> None:
    del code
    assert POLICIES.default_config("gaussian_policy:GaussianPolicy") == GaussianConfig()
    assert "gaussian_policy:GaussianPolicy" in imports.trusted(), "for its workers"


@pytest.mark.parametrize("kinds", [POLICIES, CRITICS, ENCODERS], ids=lambda kinds: kinds.what)
def test_a_loaded_module_is_not_asked_to_load_more(
    code: Path, monkeypatch: pytest.MonkeyPatch, kinds: Any
) -> None:
    """Packages that import their parts when they are looked at, by `__getattr__`."""
    import gaussian_policy

    asked: list[str] = []
    monkeypatch.setattr(gaussian_policy, "__getattr__", asked.append, raising=False)
    with pytest.raises(Exception, match="has no attribute 'Lazy'"):
        kinds.find("gaussian_policy:Lazy")
    assert not asked
    assert not code.exists()
