"""Every check fires on data broken on purpose, says where, and is silent on good data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from healthy import CAMERA, LENGTH, SPEC, STATE, good, smooth

from softflow.curation.episode_checks import EPISODE_CHECKS, CheckSettings
from softflow.curation.problems import Problem, alike_together, runs_of
from softflow.curation.rate_limits import parse_max_rates, usual_rates
from softflow.curation.validation import CHECK_NAMES, validate
from softflow.data.episode import Episode
from softflow.errors import DataError


def found(episodes: Sequence[Episode], **settings: object) -> list[Problem]:
    named = [(str(i), episode) for i, episode in enumerate(episodes)]
    usual = usual_rates(episodes, SPEC)
    return list(validate(named, SPEC, CheckSettings(usual_rate=usual, **settings)))  # type: ignore[arg-type]


def broken(change: Callable[[Episode], Episode | None]) -> list[Problem]:
    """What is found when the fourth of good episodes is broken."""
    episodes = good()
    episodes[3] = change(episodes[3]) or episodes[3]
    return found(episodes)


def only(problems: Sequence[Problem]) -> Problem:
    assert len(problems) == 1, [str(p) for p in problems]
    return problems[0]


def place(problem: Problem) -> tuple[object, ...]:
    return problem.check, problem.episode, problem.key, problem.step, problem.last_step


def test_good_data_has_no_problem() -> None:
    assert found(good()) == []


def test_nan_and_infinity_are_listed_by_stretch_of_steps() -> None:
    def change(episode: Episode) -> None:
        episode.observations[STATE][5:8, 1] = np.nan
        episode.observations[STATE][20] = np.inf
        episode.actions[59, 0] = -np.inf
        episode.rewards[2] = np.nan

    problems = broken(change)
    assert [place(p) for p in problems] == [
        ("not-finite", "3", STATE, 5, 7),
        ("not-finite", "3", STATE, 20, 20),
        ("not-finite", "3", "action", 59, 59),
        ("not-finite", "3", "next.reward", 2, 2),
    ]
    assert [p.component for p in problems] == [1, None, 0, 0]
    assert "nan (y), 3 such values" in problems[0].message
    assert "components 0, 1, 2: inf" in problems[1].message
    assert str(problems[0]).startswith(
        "error: episode 3, 'observation.state', steps 5–7, component"
    )


def test_every_problem_is_listed_not_only_the_first() -> None:
    episodes = good()
    for index in (1, 4, 7):
        episodes[index].actions[10, 1] = 1.5
        episodes[index].actions[30:33, 0] = -2
    problems = found(episodes)
    assert [(p.episode, p.step, p.last_step, p.component) for p in problems] == [
        (str(index), *where) for index in (1, 4, 7) for where in ((30, 32, 0), (10, 10, 1))
    ]
    assert "up to 1.5, outside [-1, 1]" in problems[1].message


def test_a_jump_beyond_what_is_usual_is_a_warning() -> None:
    def change(episode: Episode) -> None:
        episode.observations[STATE][40:, 2] += 5

    problem = only(broken(change))
    assert (problem.severity, *place(problem)) == ("warning", "jump", "3", STATE, 40, 40)
    assert "(z), usual are up to" in problem.message


def test_a_jump_of_many_components_is_one_problem_that_names_the_worst() -> None:
    """A bumped robot moves all of its state at once: one line to read, not one a component."""

    def change(episode: Episode) -> None:
        episode.observations[STATE][40:, 0] += 2
        episode.observations[STATE][41:, 2] += 9

    problem = only(broken(change))
    assert (problem.step, problem.last_step, problem.component) == (40, 41, None)
    assert problem.message.startswith("components 0, 2; 2 changes by ")
    assert "per second (z), usual are up to" in problem.message


def test_what_episodes_share_is_one_line() -> None:
    told = [Problem("warning", "missing-label", str(i), "label it") for i in (0, 1, 2, 7)]
    other = Problem("warning", "too-short", "1", "9 control steps, fewer than 10")
    lines = [str(problem) for problem in alike_together([*told[:2], other, *told[2:]])]
    assert lines == ["warning: episodes 0–2, 7: label it [missing-label]", str(other)]
    named = [Problem("error", "damaged-file", name, "torn") for name in ("demo_1", "demo_2")]
    assert [p.episode for p in alike_together(named)] == ["demo_1, demo_2"]
    assert alike_together([told[3]]) == [told[3]]


def test_a_jump_beyond_a_given_rate_is_an_error() -> None:
    episodes = good()
    episodes[2].observations[STATE][:, 0] = 0.01 * np.arange(LENGTH + 1)
    episodes[2].observations[STATE][9:, 0] += 0.1
    limits = parse_max_rates([f"{STATE}[x]=1.0", "action=1000"], SPEC)
    np.testing.assert_array_equal(limits[STATE], [1.0, np.inf, np.inf])
    np.testing.assert_array_equal(limits["action"], [1000, 1000])
    problem = next(p for p in found(episodes, max_rate=limits) if p.episode == "2")
    assert (problem.severity, *place(problem)) == ("error", "jump", "2", STATE, 9, 9)
    assert "changes by 2.2 per second (x), the limit is 1" in problem.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("observation.state", "write KEY=NUMBER"),
        ("observation.state=fast", "write KEY=NUMBER"),
        ("observation.state=-1", "above 0"),
        ("observation.stat=1", "one of observation.state, action"),
        ("observation.state[3]=1", "give 0 to 2 or one of x, y, z"),
        ("observation.images.front=1", "a camera has no numbers"),
        ("next.reward=1", "has no rate limit"),
    ],
)
def test_a_rate_limit_that_cannot_be_meant(text: str, hint: str) -> None:
    with pytest.raises(DataError, match=r"observation|next") as error:
        parse_max_rates([text], SPEC)
    assert hint in str(error.value)


def test_what_is_usual_by_hand() -> None:
    """81 changes of 0.01 and twice there and back by 0.5, 20 steps a second."""
    column = np.zeros(86)
    column[1:] = np.cumsum([0.01] * 40 + [0.5, -0.5] + [0.01] * 41 + [0.5, -0.5])
    episode = smooth(0, length=85)
    episode.observations[STATE][:, 0] = column
    rates = usual_rates([episode], SPEC)[STATE]
    assert rates[0] == pytest.approx(20 * 1.4826 * 0.01 * 20, rel=1e-3)
    assert usual_rates([episode], SPEC, sigmas=0) == {}


def test_what_rests_and_then_moves_is_no_jump() -> None:
    """A gripper: at rest with sensor noise, and now and then all the way in five steps."""
    episodes = good()
    rng = np.random.default_rng(0)
    for episode in episodes:
        moves = np.zeros(LENGTH + 1)
        moves[20:25], moves[40:45] = 0.2, -0.2
        episode.observations[STATE][:, 2] = np.cumsum(moves) + rng.normal(0, 1e-5, LENGTH + 1)
    assert found(episodes) == []


def test_a_frozen_camera() -> None:
    def change(episode: Episode) -> None:
        episode.observations[CAMERA][10:40] = episode.observations[CAMERA][10]

    problem = only(broken(change))
    assert (problem.severity, *place(problem)) == ("error", "frozen-camera", "3", CAMERA, 10, 39)
    assert "the same frame for 1.45 s" in problem.message


def test_a_camera_may_rest_shortly_or_with_the_robot() -> None:
    shortly, resting = good(), good()
    shortly[3].observations[CAMERA][10:30] = 7
    resting[3].observations[CAMERA][10:40] = 7
    resting[3].observations[STATE][10:40] = resting[3].observations[STATE][10]
    assert found(shortly) == []
    assert found(resting) == []
    assert only(found(shortly, frozen_s=0.5)).check == "frozen-camera"


def test_zero_actions_all_the_time_or_for_long() -> None:
    def never(episode: Episode) -> None:
        episode.actions[:] = 0

    def long(episode: Episode) -> None:
        episode.actions[5:46] = 0

    problems = broken(never)
    assert [(p.severity, p.check) for p in problems[:1]] == [("error", "zero-actions")]
    assert {p.check for p in problems[1:]} == {"constant"}
    problem = only(broken(long))
    assert (problem.severity, *place(problem)) == ("warning", "zero-actions", "3", "action", 5, 45)
    assert "2.05 s" in problem.message


def test_a_component_that_is_constant_everywhere() -> None:
    episodes = good()
    for episode in episodes:
        episode.observations[STATE][:, 1] = 0.25
        episode.actions[:, 0] = 0.5
    first, second = found(episodes)
    assert (first.key, first.component, first.episode) == (STATE, 1, "")
    assert "is always 0.25 (y)" in first.message
    assert (second.key, second.component) == ("action", 0)


def test_a_goal_that_rests_in_each_episode_is_no_problem() -> None:
    episodes = good()
    for index, episode in enumerate(episodes):
        episode.observations[STATE][:, 1] = index
    assert found(episodes) == []


def test_a_sensor_that_failed_in_one_episode() -> None:
    def change(episode: Episode) -> None:
        episode.observations[STATE][:, 2] = 1.0

    problem = only(broken(change))
    assert (problem.check, problem.episode, problem.component) == ("constant", "3", 2)
    assert "moves in 92 %" in problem.message


def test_a_duplicate_whatever_its_label_says() -> None:
    episodes = good()
    copy = replace(episodes[2], rewards=episodes[2].rewards * 0, metadata={"source": "toy"})
    problem = only(found([*episodes, copy]))
    assert (problem.severity, problem.check, problem.episode) == ("error", "duplicate", "12")
    assert "same content as episode 2" in problem.message


@pytest.mark.parametrize("where", ["observation", "metadata"])
def test_time_that_stands_still_or_runs_backwards(where: str) -> None:
    time_s = np.arange(LENGTH + 1) / 20
    time_s[11] = time_s[10]
    time_s[30] = 1.0
    spec, episode = SPEC, smooth(0)
    if where == "observation":
        key = "observation.timestamp"
        spec = replace(SPEC, observation_shapes={**SPEC.observation_shapes, key: (1,)})
        times = {key: time_s[:, None].astype(np.float32)}
        episode = replace(episode, observations=episode.observations | times)
    else:
        key = "metadata time_s"
        episode.metadata["time_s"] = time_s.tolist()
    problems = list(validate([("a", episode)], spec))
    assert [place(p) for p in problems] == [
        ("time-not-increasing", "a", key, 11, 11),
        ("time-not-increasing", "a", key, 30, 30),
    ]


def test_wrong_shapes_types_and_keys() -> None:
    def change(episode: Episode) -> Episode:
        frames = episode.observations[CAMERA].repeat(2, axis=1)
        extra = {CAMERA: frames, "observation.force": np.zeros((LENGTH + 1, 6), np.float32)}
        return replace(
            episode,
            observations=episode.observations | extra,
            actions=episode.actions.astype(np.float64),
        )

    problems = broken(change)
    assert [(p.check, p.key, p.message) for p in problems] == [
        ("wrong-shape", CAMERA, "shape (61, 16, 10, 3), expected (61, 8, 10, 3)"),
        ("wrong-shape", "action", "float64, expected float32"),
        ("wrong-shape", "observation.force", "not among the keys of this dataset"),
    ]


def test_a_missing_key_does_not_hide_other_problems() -> None:
    episodes = good()
    del episodes[3].observations[CAMERA]
    episodes[3].observations[STATE][4, 0] = np.nan
    assert [(p.check, p.key, p.step) for p in found(episodes)] == [
        ("wrong-shape", CAMERA, None),
        ("not-finite", STATE, 4),
    ]


def test_contradictory_facts() -> None:
    both = broken(lambda e: replace(e, terminated=True, truncated=True))
    assert "both True" in only(both).message
    bad = broken(lambda e: replace(e, metadata={"source": "toy", "x": np.float32(1)}))
    assert "metadata cannot be written as JSON" in only(bad).message


def test_short_and_empty_episodes() -> None:
    short, empty = smooth(20, length=4), smooth(21, length=1)
    empty = replace(
        empty,
        actions=empty.actions[:0],
        rewards=empty.rewards[:0],
        observations={key: value[:1] for key, value in empty.observations.items()},
    )
    problems = found([*good(), short, empty])
    assert [(p.severity, p.check, p.episode) for p in problems] == [
        ("warning", "too-short", "12"),
        ("error", "too-short", "13"),
    ]
    assert found([*good(), short], min_length=4) == []


def test_episodes_that_nobody_labelled() -> None:
    silent = [smooth(seed, success=False) for seed in range(3)]
    other = [replace(e, metadata=e.metadata | {"source": "unlabelled"}) for e in silent]
    marked = smooth(50)
    marked.metadata["unlabelled"] = True
    labelled = replace(smooth(51, success=False), metadata={"source": "z", "annotator": "anna"})
    vouched = replace(smooth(52, success=False), metadata={"source": "y", "outcome_from": "bag"})
    rest = [smooth(seed, success=seed % 2 > 0) for seed in range(60, 66)]
    problems = found([*rest, *other, marked, labelled, vouched])
    assert {p.check for p in problems} == {"missing-label"}
    assert [p.episode for p in problems] == ["9", "6", "7", "8"]
    assert "'unlabelled'" in problems[1].message


def test_checks_can_be_left_out_and_must_exist() -> None:
    episodes = good()
    episodes[3].actions[:] = 0
    names = frozenset({"zero-actions", "constant"})
    assert found(episodes, ignore=names) == []
    with pytest.raises(DataError, match=r"no check 'zero'; choose from wrong-shape, "):
        found(episodes, ignore=frozenset({"zero"}))
    assert set(EPISODE_CHECKS) < set(CHECK_NAMES)


@pytest.mark.parametrize(("name", "value"), [("frozen_s", 0), ("idle_s", -1), ("min_length", -1)])
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(DataError, match=f"{name} is {value}"):
        CheckSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flags", "runs"),
    [([], []), ([0, 0], []), ([1, 1, 1], [(0, 2)]), ([1, 0, 1, 1, 0, 1], [(0, 0), (2, 3), (5, 5)])],
)
def test_runs(flags: list[int], runs: list[tuple[int, int]]) -> None:
    assert runs_of(np.array(flags, bool)) == runs
