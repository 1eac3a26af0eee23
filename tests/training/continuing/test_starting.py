"""A new run starts from another run's networks: `softflow train --from RUN`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from grown_runs import Trainer, grown, short_config
from point_world import demonstration, point_spec, tiny_config

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.errors import CheckpointError, ConfigError
from softflow.models.checkpoint import read_checkpoint
from softflow.models.critics.mlp_critic import MlpCriticConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.policies.coupling import FlowConfig
from softflow.training.config import STAGES, TrainingConfig
from softflow.training.continuing.history import read_history
from softflow.training.files.progress import read_progress
from softflow.training.persistence import CRITIC, POLICY, STATISTICS, SUPPORT
from softflow.utils.files import sha256_of

RL: Any = ("critic_warmup", "offline_rl")


def files_of(run: Path, checkpoint: str = "last") -> dict[str, str]:
    """Digests of the files of a checkpoint."""
    return json.loads((run / "checkpoints" / checkpoint / "MANIFEST.json").read_text())["files"]


def other_data(trainer: Trainer, spec: DataSpec | None = None, shift: float = 0.0) -> Path:
    """Two new demonstrations, their first component moved."""
    path = trainer.folder / "other"
    with EpisodeStore.create(path, spec or point_spec()) as store:
        for seed in (70, 71):
            episode = demonstration(seed, towards_goal=True)
            state = episode.observations[STATE_KEY].copy()
            state[:, 0] += shift
            store.append(replace(episode, observations={STATE_KEY: state}))
    return path


def test_rl_from_an_imitation_has_the_bits_of_one_run(trainer: Trainer) -> None:
    """Same data, same seed: the networks and their optimisers come along whole."""
    first = trainer.run("imitation")
    trainer.run("rl", stages=RL, start=str(first))
    trainer.run("imitation", stages=("imitation", *RL))
    ours, theirs = (files_of(trainer.folder / name) for name in ("rl", "imitation"))
    names = [name for name in ours if name.endswith("safetensors")]
    assert len(names) == 5
    assert {name: ours[name] for name in names} == {name: theirs[name] for name in names}


def test_fine_tuning_on_other_data_keeps_the_normalisation_and_tells_what_is_outside(
    trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    first, data = trainer.run("first"), other_data(trainer, shift=4.0)
    manifest = sha256_of(first / "checkpoints/last/MANIFEST.json")
    run = trainer.run("tuned", data=data, start=str(first))
    assert files_of(run)[f"{STATISTICS}.json"] == files_of(first)[f"{STATISTICS}.json"]
    said = capsys.readouterr().out
    assert f"starting from '{first}': policy of imitation, update 6" in said
    assert "starts without" not in said
    assert "observation.state[0] in " in said
    origin = read_history(run).origin
    assert origin is not None
    assert (origin.checkpoint, origin.sha256) == ("0_imitation_00000006", manifest)
    assert (origin.critic, origin.trained_by) == (False, origin.softflow)
    assert any("outside of the normalisation" in note for note in origin.notes)
    page = (run / "report.html").read_text()
    assert "Started from the policy of" in page
    assert "0_imitation_00000006" in page


def test_another_spelling_of_the_same_place_goes_on(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trainer.folder)
    trainer.run("first")
    run = trainer.run("tuned", start="first/")
    for start in ("first", "./first", str(trainer.folder / "first"), "first/checkpoints/.."):
        trainer.run("tuned", start=start)
    trainer.run("other")
    with pytest.raises(ConfigError, match="started from 'first/', not from 'other'"):
        trainer.run("tuned", start="other")
    assert read_history(run).continuations == ()


def test_networks_of_other_sizes_are_told_with_the_options_that_make_them_fit(
    trainer: Trainer,
) -> None:
    first = trainer.run("first")
    config = changed(policy=replace(tiny_config().model.policy, dim=32, mlp_dim=64))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r": --model.policy.dim 16 --model.policy.mlp-dim 16,? ?"):
        trainer.run("new", config, start=str(first))


def test_a_run_that_was_started_from_another_needs_it_no_more(trainer: Trainer) -> None:
    first = trainer.run("first")
    run = trainer.run("rl", stages=("critic_warmup",), start=str(first))
    shutil.rmtree(first)
    trainer.run("rl", stages=RL, start=str(first))
    trainer.run("rl", grown(short_config(), "offline_rl", num_updates=8), stages=RL)
    history = read_history(run)
    assert history.origin is not None
    assert [c.what for e in history.continuations for c in e.changes] == ["offline_rl.num_updates"]


def test_a_critic_comes_along_if_it_has_learned_and_is_wanted(trainer: Trainer) -> None:
    trained = trainer.run("first", stages=("imitation", "critic_warmup"))
    place = trainer.folder / "first/checkpoints/last"
    support = read_checkpoint(place, (SUPPORT,)).documents
    data = other_data(trainer)
    with_it = trainer.run("with", data=data, start=str(place))
    without = trainer.run("without", data=data, start=str(trained), start_critic=False)
    assert read_progress(with_it / "checkpoints/last").critic_is_trained
    assert not read_progress(without / "checkpoints/last").critic_is_trained
    assert files_of(with_it)[f"{CRITIC}.safetensors"] == files_of(trained)[f"{CRITIC}.safetensors"]
    assert read_checkpoint(with_it / "checkpoints/last", (SUPPORT,)).documents == support


def test_edits_of_another_run_begin_again_from_nothing(trainer: Trainer) -> None:
    config = changed(critic=MlpCriticConfig(hidden_dim=16, edit_scale=0.2))
    first = trainer.run("first", config, stages=STAGES)
    tuned = trainer.run("tuned", config, stages=("imitation",), start=str(first))

    def editor(run: Path) -> dict[str, Any]:
        weights = read_checkpoint(run / "checkpoints/last").weights(CRITIC)
        return {n: w for n, w in weights.items() if n.startswith("editor.")}

    before, now = editor(first), editor(tuned)
    assert before["editor.strength"] > 0
    assert now["editor.strength"] == 0
    assert all(torch.equal(now[n], before[n]) for n in before if n != "editor.strength")


def test_a_pretrained_model_alone_is_enough(trainer: Trainer) -> None:
    first = trainer.run("first")
    alone = trainer.folder / "alone"
    shutil.copytree(first / "checkpoints/last/pretrained_model", alone)
    run = trainer.run("tuned", start=str(alone))
    weights = f"{POLICY}.safetensors"
    assert files_of(run)[weights] != files_of(first)[weights]


# ---- refused -------------------------------------------------------------------------------------


def changed(**model: Any) -> TrainingConfig:
    config = short_config()
    return replace(config, model=replace(config.model, **model))


MODEL = short_config().model
OTHER: dict[str, tuple[TrainingConfig, str]] = {
    "size": (
        changed(
            policy=FlowConfig(num_layers=2, dim=32, num_heads=2, mlp_dim=16, head_hidden_dim=16)
        ),
        "model.policy.dim: there 16, now 32",
    ),
    "chunk": (
        changed(chunk=replace(MODEL.chunk, chunk_length=5)),
        "model.chunk.chunk_length: there 4, now 5",
    ),
    "encoder": (
        changed(encoder=StateMlpConfig(token_dim=16, hidden_dim=16, state_tokens=3)),
        "model.encoder.state_tokens: there 2, now 3",
    ),
}


@pytest.mark.parametrize("kind", OTHER)
def test_networks_of_other_sizes(trainer: Trainer, kind: str) -> None:
    config, words = OTHER[kind]
    first = trainer.run("first")
    with pytest.raises(ConfigError, match=words):
        trainer.run("new", config, start=str(first))
    assert not (trainer.folder / "new").exists()


def test_data_with_other_keys_or_actions(trainer: Trainer) -> None:
    first = trainer.run("first")
    spec = replace(point_spec(), observation_shapes={STATE_KEY: (3,)}, env_id="")
    path = trainer.folder / "narrow"
    with EpisodeStore.create(path, spec) as store:
        for seed in range(2):
            episode = demonstration(seed, towards_goal=True)
            state = episode.observations[STATE_KEY][:, :3].copy()
            store.append(replace(episode, observations={STATE_KEY: state}))
    with pytest.raises(ConfigError, match=r"observation.state: there \[4\], now \[3\]"):
        trainer.run("new", data=path, start=str(first), env="")
    assert not (trainer.folder / "new").exists()


def test_a_critic_of_another_discount_stays_behind(trainer: Trainer) -> None:
    first = trainer.run("first", stages=("imitation", "critic_warmup"))
    config = short_config(discount=0.9)
    with pytest.raises(ConfigError, match=r"--no-from-critic"):
        trainer.run("new", config, start=str(first))
    trainer.run("new", config, start=str(first), start_critic=False)


def test_what_starts_differently_is_told(
    trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wider bounds and another rate do not keep networks from starting, but a user should know."""
    first = trainer.run("first")
    wide = replace(point_spec(), action_low=(-2.0, -2.0), action_high=(2.0, 2.0), env_id="")
    trainer.run("new", data=other_data(trainer, wide), start=str(first), env="")
    assert "there and here, action_low" in capsys.readouterr().out


def test_a_run_keeps_its_beginning(trainer: Trainer) -> None:
    first, second = trainer.run("first"), trainer.run("second")
    with pytest.raises(ConfigError, match="which started from the beginning, not from"):
        trainer.run("second", start=str(first))
    trainer.run("third", start=str(first))
    with pytest.raises(ConfigError, match=f"which started from '{first}', not from '{second}'"):
        trainer.run("third", start=str(second))


def test_nothing_there_to_start_from(trainer: Trainer) -> None:
    with pytest.raises(CheckpointError, match="holds no policy"):
        trainer.run("new", start=str(trainer.folder / "nowhere"))
    assert not (trainer.folder / "new").exists()
