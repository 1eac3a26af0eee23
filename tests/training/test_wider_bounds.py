"""From imported data, whose bounds are the range of what was recorded, to online RL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from point_world import ENV_ID, demonstration, point_spec, tiny_config
from runs_compared import as_overrides

from softflow.cli.main import main
from softflow.curation.action_bounds import change_bounds
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.statistics import compute_statistics
from softflow.errors import ConfigError
from softflow.models.normalizers import ActionNormalizer
from softflow.training.provenance import identity_of, require_continues
from softflow.training.run import Run
from softflow.training.stages import run_stages

RunMaker = Callable[..., Run]


def imported(path: Path, env_id: str = ENV_ID) -> Path:
    """A store as importers leave it: its bounds are the range of its actions, within ±0.9."""
    episodes = [demonstration(seed, seed % 5 != 4) for seed in range(8)]
    episodes = [replace(e, actions=(0.9 * e.actions).astype("float32")) for e in episodes]
    low = tuple(min(float(e.actions[:, i].min()) for e in episodes) for i in range(2))
    high = tuple(max(float(e.actions[:, i].max()) for e in episodes) for i in range(2))
    spec = replace(point_spec(), action_low=low, action_high=high, env_id=env_id)
    with EpisodeStore.create(path, spec) as store:
        for episode in episodes:
            store.append(episode)
    return path


def widen(store: Path, spec: DataSpec | None = None) -> None:
    with EpisodeStore.open(store, writable=True) as there:
        change_bounds(there, spec or point_spec())


def test_a_run_goes_on_to_online_rl_with_wider_bounds(make_run: RunMaker, tmp_path: Path) -> None:
    store = imported(tmp_path / "demos", env_id="")
    config = tiny_config(eval_episodes=0, round_eval_episodes=0)
    first = make_run(config, dataset=store)
    run_stages(first, ["imitation"])
    weights = first.learner.policy.state_dict()
    first.close()
    widen(store)
    dataset = EpisodeStore.open(store)
    identity = identity_of(store, dataset, ["imitation", "online_rl"], config)
    require_continues(tmp_path / "run", identity, dataset)
    again = make_run(config, dataset=store)
    for name, value in again.learner.policy.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)
    run_stages(again, ["online_rl"])
    assert len(again.online) == 6
    assert again.online.store.spec == point_spec()
    widest = compute_statistics(dataset).action
    for index in range(6):
        actions = again.online.store.episode(index).actions
        assert (actions <= widest.maximum + 1e-6).all(), "no action beyond the demonstrations'"
        assert (actions >= widest.minimum - 1e-6).all()


def test_what_networks_are_told_does_not_depend_on_bounds(tmp_path: Path) -> None:
    store = imported(tmp_path / "demos")
    before = compute_statistics(EpisodeStore.open(store))
    widen(store, replace(point_spec(), action_low=(-7.0, -7.0), action_high=(7.0, 7.0)))
    after = compute_statistics(EpisodeStore.open(store))
    assert after.to_json() == before.to_json()
    ours = ActionNormalizer(after.action)
    edge = torch.tensor(after.action.maximum, dtype=torch.float32)
    torch.testing.assert_close(ours.normalize(edge), torch.full((2,), 0.9))


def test_bounds_that_are_not_wider_are_another_run(make_run: RunMaker, tmp_path: Path) -> None:
    store = imported(tmp_path / "demos")
    widen(store)
    config = tiny_config(eval_episodes=0)
    run = make_run(config, dataset=store)
    run.save()
    run.close()
    narrow = EpisodeStore.open(imported(tmp_path / "narrow")).spec
    widen(store, narrow)
    dataset = EpisodeStore.open(store)
    identity = identity_of(store, dataset, ["imitation"], config)
    with pytest.raises(ConfigError, match=r"data_spec.action_low: there \[-1.0, -1.0\]"):
        require_continues(tmp_path / "run", identity, dataset)


@pytest.mark.slow
def test_train_names_the_command_and_evaluate_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run = imported(tmp_path / "demos"), tmp_path / "run"
    words = ["train", "small", "--dataset", str(store), "--run", str(run), *as_overrides()]
    words += ["--stages", "imitation"]
    assert main([*words, "--env", ENV_ID]) == 2
    said = capsys.readouterr().err
    command = next(line for line in said.splitlines() if "softflow data bounds" in line)
    assert not run.exists()
    assert main([*words, "--eval-episodes", "0"]) == 0, "no environment is needed"
    checkpoint = str(run / "checkpoints" / "last")
    few = ("--episodes", "2", "--workers", "1", "--env", ENV_ID)
    with pytest.warns(UserWarning, match="narrower action bounds"):
        assert main(["evaluate", checkpoint, *few]) == 0
    assert main(command.split()[1:]) == 0
    assert EpisodeStore.open(store).spec == point_spec()
    assert main([*words, "--env", ENV_ID]) == 0, "the same run goes on"
