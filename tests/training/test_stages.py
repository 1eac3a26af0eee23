"""The four stages: their order, the data each one sees, and what online rounds collect."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from point_world import LocalPool, tiny_config, write_demonstrations
from torch import Tensor, nn

from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, DataError
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.config import STAGES, StageName, TrainingConfig
from softflow.training.evaluation import episode_seed
from softflow.training.learner import Learner
from softflow.training.run import Run
from softflow.training.run_folder import Position
from softflow.training.stages import run_stages
from softflow.utils.progress import SilentProgress

RunMaker = Callable[..., Run]
STATE = "observation.state"


def short(**changes: object) -> TrainingConfig:
    """A few updates in each stage and no evaluation."""
    config = tiny_config(eval_episodes=0, round_eval_episodes=0)
    return replace(
        config,
        imitation=replace(config.imitation, num_updates=4),
        critic_warmup=replace(config.critic_warmup, num_updates=3),
        offline_rl=replace(config.offline_rl, num_updates=2),
        online_rl=replace(config.online_rl, num_updates=2, num_rounds=3, episodes_per_round=2),
        **changes,
    )


@dataclass
class Diary:
    """The learner's updates in order, and what they were given."""

    updates: list[str] = field(default_factory=list)
    batches: list[ChunkBatch] = field(default_factory=list)
    bc_coefs: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    online_episodes: list[int] = field(default_factory=list)
    run: Run | None = None

    def of(self, update: str) -> list[ChunkBatch]:
        return [b for name, b in zip(self.updates, self.batches, strict=True) if name == update]

    def follow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Write down every update from now on."""
        for name in ("imitation_update", "critic_update", "actor_update"):
            self._watch(name, monkeypatch)

    def _watch(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(Learner, name)

        def watched(learner: Learner, batch: ChunkBatch, *rest: object) -> dict[str, Tensor]:
            self.updates.append(name.removesuffix("_update"))
            self.batches.append(batch)
            self.learning_rates.append(learner.policy_optimizer.param_groups[0]["lr"])
            if name == "actor_update":
                self.bc_coefs.append(float(str(rest[1])))
                self.online_episodes.append(len(self.run.online.store) if self.run else 0)
            return original(learner, batch, *rest)

        monkeypatch.setattr(Learner, name, watched)


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> Diary:
    kept = Diary()
    kept.follow(monkeypatch)
    return kept


@dataclass(frozen=True)
class Story:
    """A whole run, finished, and its diary."""

    run: Run
    diary: Diary


@pytest.fixture(scope="module")
def story(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    config = replace(short(), eval_episodes=2, round_eval_episodes=1)
    folder = tmp_path_factory.mktemp("story")
    run = Run(folder, config, demonstrations, LocalPool(), SilentProgress())
    diary = Diary(run=run)
    with pytest.MonkeyPatch.context() as monkeypatch:
        diary.follow(monkeypatch)
        run_stages(run)
    yield Story(run, diary)
    run.close()


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def states(store: EpisodeStore, episodes: list[int]) -> set[bytes]:
    """Every observation of these episodes, as something that can be looked up."""
    return {row.tobytes() for index in episodes for row in store.episode(index).observations[STATE]}


def seen(batches: list[ChunkBatch]) -> set[bytes]:
    rows = torch.cat([batch.observation[STATE][:, -1] for batch in batches])
    return {row.tobytes() for row in rows.numpy()}


# ---- order --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_stages_in_the_order_of_the_paper(story: Story) -> None:
    both = ["critic", "actor"]
    expected = ["imitation"] * 4 + ["critic"] * 3 + both * 2 + both * 2 * 3
    assert story.diary.updates == expected


@pytest.mark.slow
def test_a_subset_runs_in_order_whatever_the_order_asked(make_run: RunMaker, diary: Diary) -> None:
    run_stages(make_run(short()), ["critic_warmup", "imitation"])
    assert diary.updates == ["imitation"] * 4 + ["critic"] * 3


@pytest.mark.slow
def test_a_stage_alone(make_run: RunMaker, diary: Diary) -> None:
    run = make_run(short())
    run_stages(run, ["offline_rl"])
    assert diary.updates == ["critic", "actor"] * 2
    assert run.position == Position("offline_rl", 2)


@pytest.mark.slow
def test_stages_one_by_one_give_the_same_as_all_at_once(story: Story, make_run: RunMaker) -> None:
    """And evaluating, which only the whole run did, changes nothing either."""
    for stage in STAGES:
        part = make_run(short())
        run_stages(part, [stage])
        part.close()
    part = make_run(short())
    assert part.position == Position("online_rl", 6)
    for name in ("policy", "critic", "target_critic"):
        ours, theirs = (weights(getattr(r.learner, name)) for r in (part, story.run))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.slow
def test_an_older_checkpoint_leads_to_the_same_weights(
    story: Story, make_run: RunMaker, tmp_path: Path
) -> None:
    """Its round did not know the episodes of later rounds, which are on disk already."""
    shutil.copytree(story.run.folder, tmp_path / "copy", symlinks=True)
    checkpoints = tmp_path / "copy/checkpoints"
    (checkpoints / "last").unlink()
    for newer in checkpoints.glob("3_online_rl_*"):
        shutil.rmtree(newer)
    run = make_run(story.run.config, "copy")
    assert run.position.stage == "offline_rl"
    run_stages(run)
    assert run.position == Position("online_rl", 6)
    assert len(run.online) == 6
    for name in ("policy", "critic", "target_critic"):
        ours, theirs = (weights(getattr(r.learner, name)) for r in (run, story.run))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


# ---- data ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_learning_rate_falls_from_update_to_update(make_run: RunMaker, diary: Diary) -> None:
    config = short()
    falling = replace(config.imitation, learning_rate=0.8, learning_rate_decay=0.5)
    online = replace(config.online_rl, learning_rate=0.6, learning_rate_decay=1.0)
    run = make_run(replace(config, imitation=falling, online_rl=online))
    run_stages(run, ["imitation", "online_rl"])
    assert diary.learning_rates[:4] == pytest.approx([0.8, 0.7, 0.6, 0.5])
    assert diary.learning_rates[5::2] == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


@pytest.mark.slow
def test_imitation_sees_successes_without_the_held_out_ones(
    make_run: RunMaker, diary: Diary
) -> None:
    config = tiny_config(eval_episodes=0)
    run = make_run(replace(config, imitation=replace(config.imitation, num_updates=40)))
    run_stages(run, ["imitation"])
    successes = [s.index for s in run.data.store.summaries() if s.success]
    used = list(run.data.demonstrations.episode_indices)
    held_out = list(run.data.held_out.episode_indices)
    assert sorted(used + held_out) == successes
    assert held_out == [successes[20]]
    shown = seen(diary.of("imitation"))
    assert all(batch.episode_success.all() for batch in diary.of("imitation"))
    assert shown <= states(run.data.store, used)
    assert not shown & states(run.data.store, held_out)
    # Windows at the start show the first state once more.
    steps = run.data.demonstrations.num_windows - run.data.demonstrations.num_episodes
    assert len(shown) > 0.9 * steps, "all of the others are used"


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["critic_warmup", "offline_rl", "online_rl"])
def test_no_later_stage_sees_the_held_out_ones_either(
    stage: StageName, make_run: RunMaker, diary: Diary
) -> None:
    config = short()
    online = replace(config.online_rl, offline_ratio=1.0, num_updates=60, num_rounds=1)
    config = replace(config, online_rl=online)
    for name in ("critic_warmup", "offline_rl"):
        config = replace(config, **{name: replace(getattr(config, name), num_updates=60)})
    run = make_run(config)
    run_stages(run, [stage])
    shown, held_out = seen(diary.of("critic")), run.data.held_out
    assert held_out.num_episodes == 1
    assert not shown & states(run.data.store, list(held_out.episode_indices))
    assert len(shown) > 0.8 * (run.data.offline.num_windows - run.data.offline.num_episodes)


def test_few_demonstrations_are_all_used(make_run: RunMaker, tmp_path: Path) -> None:
    dataset = write_demonstrations(tmp_path / "few", [True, False, True])
    run = make_run(short(), dataset=dataset)
    assert run.data.demonstrations.episode_indices == (0, 2)
    assert run.data.held_out.num_windows == 0


@pytest.mark.slow
def test_the_critic_sees_failures_too(make_run: RunMaker, diary: Diary) -> None:
    config = tiny_config(eval_episodes=0)
    run_stages(make_run(config), ["critic_warmup"])
    success = torch.cat([batch.episode_success for batch in diary.of("critic")])
    assert success.any()
    assert not success.all()


@pytest.mark.slow
def test_warmup_leaves_the_policy_bit_identical(make_run: RunMaker) -> None:
    run = make_run(short())
    run_stages(run, ["imitation"])
    policy, critic = weights(run.learner.policy), weights(run.learner.critic)
    run_stages(run, ["critic_warmup"])
    after = weights(run.learner.policy)
    assert all(torch.equal(after[name], policy[name]) for name in policy)
    assert any(not torch.equal(v, critic[n]) for n, v in weights(run.learner.critic).items())


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "offline_rows"), [(0.5, 4), (0.25, 2), (1.0, 8), (0.0, 0)])
def test_online_batches_mix_at_the_offline_ratio(
    make_run: RunMaker, diary: Diary, ratio: float, offline_rows: int
) -> None:
    config = short()
    online = replace(config.online_rl, offline_ratio=ratio, num_rounds=1)
    run = make_run(replace(config, online_rl=online))
    run_stages(run, ["online_rl"])
    assert len(diary.batches) == 4
    assert [int(batch.is_offline.sum()) for batch in diary.batches] == [offline_rows] * 4
    experience = states(run.online.store, [0, 1])
    for batch in diary.batches:
        rows = batch.observation[STATE][~batch.is_offline][:, -1].numpy()
        assert all(row.tobytes() in experience for row in rows)


@pytest.mark.slow
def test_a_round_learns_from_the_episodes_so_far(make_run: RunMaker, diary: Diary) -> None:
    config = short()
    online = replace(config.online_rl, num_updates=12, num_rounds=2)
    run = make_run(replace(config, online_rl=online))
    run_stages(run, ["online_rl"])
    critic = diary.of("critic")
    first, second = seen_online(critic[:12]), seen_online(critic[12:])
    assert first <= states(run.online.store, [0, 1])
    assert second & states(run.online.store, [2, 3])


def seen_online(batches: list[ChunkBatch]) -> set[bytes]:
    rows = [batch.observation[STATE][~batch.is_offline][:, -1] for batch in batches]
    return {row.tobytes() for row in torch.cat(rows).numpy()}


# ---- online rounds ------------------------------------------------------------------------------


def test_lambda_decays_from_round_to_round(story: Story) -> None:
    rounds = [0.1] * 2 + [0.05] * 2 + [0.025] * 2
    assert story.diary.bc_coefs == pytest.approx([0.1, 0.1, *rounds])


def test_the_policy_waits_for_the_critic_where_told_to(make_run: RunMaker, diary: Diary) -> None:
    config = short()
    online = replace(config.online_rl, critic_rounds=2)
    run = make_run(replace(config, online_rl=online))
    run_stages(run, ["online_rl"])
    assert diary.updates == ["critic"] * 4 + ["critic", "actor"] * 2


def test_only_what_is_learned_from_explores(make_run: RunMaker) -> None:
    config = replace(short(), eval_episodes=1)
    online = replace(config.online_rl, exploration_std=0.1, num_rounds=1)
    run = make_run(replace(config, online_rl=online))
    run_stages(run, ["online_rl"])
    assert isinstance(run.pool, LocalPool)
    tried = {(task.metadata["source"], task.selection.exploration_std) for task in run.pool.tasks}
    assert {("online", 0.1), ("evaluation", 0.0)} <= tried
    assert all(std == 0 for source, std in tried if source != "online")
    every = [run.online.store.episode(index).actions for index in range(2)]
    assert not (every[0][2:4] == every[1][2:4]).all()


def test_episodes_are_collected_more_widely_than_they_are_measured(make_run: RunMaker) -> None:
    config = replace(short(), eval_episodes=1)
    online = replace(config.online_rl, collection_std=1.5, collection_candidates=7, num_rounds=1)
    run = make_run(replace(config, online_rl=online))
    run_stages(run, ["online_rl"])
    assert isinstance(run.pool, LocalPool)
    rules = {
        (task.metadata["source"], task.selection.num_candidates, task.selection.sampling_std)
        for task in run.pool.tasks
    }
    deployed = (config.candidates_after("online_rl"), config.sampling_std)
    assert {("online", 7, 1.5), ("evaluation", *deployed)} <= rules
    assert {rule[1:] for rule in rules if rule[0] != "online"} == {deployed}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"collection_std": -0.1}, "collection_std is -0.1; must be >= 0"),
        ({"collection_std": float("inf")}, "collection_std is inf"),
        ({"collection_candidates": 0}, "collection_candidates"),
    ],
)
def test_collecting_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(short().online_rl, **changes)


def test_every_round_collects_its_episodes_with_its_policy(story: Story) -> None:
    summaries = story.run.online.store.summaries()
    facts = [summary.metadata for summary in summaries]
    assert [fact["round"] for fact in facts] == [0, 0, 1, 1, 2, 2]
    assert [fact["policy_version"] for fact in facts] == [
        f"3_online_rl_{update:08d}" for update in (0, 0, 2, 2, 4, 4)
    ]
    assert [fact["seed"] for fact in facts] == [episode_seed(0, "online", i) for i in range(6)]
    assert len({fact["seed"] for fact in facts}) == 6
    assert all(fact["source"] == "online" for fact in facts)
    assert story.run.online.robot_steps == sum(summary.length for summary in summaries)


def test_episodes_are_collected_before_the_updates_of_their_round(story: Story) -> None:
    assert story.diary.online_episodes == [0, 0, 2, 2, 4, 4, 6, 6]


def test_candidates_are_chosen_by_likelihood_until_there_is_a_critic(story: Story) -> None:
    assert isinstance(story.run.pool, LocalPool)
    tasks = story.run.pool.tasks
    rules = [(task.metadata["source"], task.selection.rule) for task in tasks]
    # A stage is evaluated twice and filmed; a round collects two episodes and evaluates one.
    stage = [("evaluation", "value")] * 3
    online = [("online", "value")] * 2 + [("evaluation", "value")]
    assert rules == [("evaluation", "likelihood")] * 3 + stage * 2 + online * 3 + stage
    assert {task.selection.num_candidates for task in tasks} == {4}
    assert {task.selection.sampling_std for task in tasks} == {0.7}


def test_results_of_every_stage_and_round_are_on_disk(story: Story) -> None:
    folder = story.run.folder
    found = sorted(path.stem for path in (folder / "evaluations").glob("*.json"))
    rounds = [f"online_rl_round_{number:02d}" for number in (1, 2, 3)]
    assert found == sorted([*STAGES, *rounds])
    assert {path.stem for path in (folder / "diagnostics").glob("*.json")} == set(STAGES)
    films = {path.stem for path in (folder / "videos").glob("*.mp4")}
    assert films >= set(STAGES)
    for stage in STAGES:
        result = json.loads((folder / f"evaluations/{stage}.json").read_text())
        outcomes = {episode["success"] for episode in result["episodes"]}
        filmed = [
            json.loads((folder / f"videos/{n}.json").read_text())["success"]
            for n in films
            if n.split(".")[0] == stage
        ]
        assert sorted(filmed) == sorted(outcomes), "one of each outcome that there is"
    second = json.loads((folder / "evaluations/online_rl_round_02.json").read_text())
    expected = {"stage": "online_rl", "update_step": 4, "online_episodes": 4, "num_episodes": 1}
    assert second.items() >= expected.items()


def test_the_checkpoints_that_were_measured_are_kept(story: Story) -> None:
    folder = story.run.folder
    for stage in STAGES:
        result = json.loads((folder / f"evaluations/{stage}.json").read_text())
        assert (folder / "checkpoints" / result["policy_version"] / "MANIFEST.json").exists()


def test_a_finished_run_does_nothing_more_and_notices_lost_episodes(
    story: Story, make_run: RunMaker, diary: Diary, tmp_path: Path
) -> None:
    shutil.copytree(story.run.folder, tmp_path / "copy", symlinks=True)
    run = make_run(story.run.config, "copy")
    run_stages(run)
    assert diary.updates == []
    assert len(run.online.store) == 6
    run.close()
    run.online.store.episode_path(5).unlink()
    with pytest.raises(DataError, match="online: there were 6 episodes, now there are 5"):
        run_stages(make_run(story.run.config, "copy"))


# ---- refusals -----------------------------------------------------------------------------------


def test_episodes_need_a_simulator(demonstrations: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", short(), demonstrations, None, SilentProgress())
    with pytest.raises(ConfigError, match="no simulator"):
        run_stages(run, ["online_rl"])
    run.close()


@pytest.mark.filterwarnings("ignore:.*is constant")
def test_imitation_needs_a_success(make_run: RunMaker, tmp_path: Path) -> None:
    dataset = write_demonstrations(tmp_path / "failures", [False, False])
    with pytest.raises(DataError, match=r"none of the 2 episodes .* success"):
        run_stages(make_run(short(), dataset=dataset), ["imitation"])


@pytest.mark.filterwarnings("ignore:.*is constant")
def test_a_critic_can_learn_from_failures_alone(make_run: RunMaker, tmp_path: Path) -> None:
    dataset = write_demonstrations(tmp_path / "failures", [False, False])
    run_stages(make_run(short(), dataset=dataset), ["critic_warmup"])
