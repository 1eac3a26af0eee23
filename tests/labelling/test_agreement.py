"""Agreement of annotators, worked by hand."""

from __future__ import annotations

import time

import pytest

from softflow.data.labels import Event, Label
from softflow.labelling.agreement import (
    agreements,
    cohens_kappa,
    compare,
    match_steps,
    newest_of_each,
    outcome_of,
    resolution,
    state_of,
)

HZ = 10.0


def success(by: str, step: int) -> Label:
    return Label(by, (Event(step, "success", 1.0),))


def failure(by: str, step: int) -> Label:
    return Label(by, (Event(step, "failure"),))


def turns(by: str, *steps: int) -> Label:
    return Label(by, tuple(Event(step, "reward", 1.0, "rotated") for step in steps))


def test_kappa_worked_by_hand() -> None:
    # Cohen's own arithmetic: 20 + 15 of 50 the same, expected 0.5·0.6 + 0.5·0.4 = 0.5.
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5
    pairs += [("no", "yes")] * 10 + [("no", "no")] * 15
    kappa = cohens_kappa(pairs)
    assert (kappa.observed, kappa.expected) == (0.7, 0.5)
    assert kappa.value == pytest.approx(0.4)
    # Wilson's interval of 35 of 50 is (0.5625, 0.8090), so (p − 0.5) / 0.5:
    assert kappa.low == pytest.approx(0.125, abs=2e-3)
    assert kappa.high == pytest.approx(0.618, abs=2e-3)


def test_kappa_of_complete_disagreement_is_minus_one() -> None:
    assert cohens_kappa([("a", "b"), ("b", "a")]).value == -1.0


def test_kappa_with_three_outcomes() -> None:
    # Same 3 of 4; expected (2·1 + 1·2 + 1·1) / 16 = 5/16, kappa (12 − 5) / (16 − 5).
    pairs = [("s", "s"), ("s", "f"), ("f", "f"), ("n", "n")]
    assert cohens_kappa(pairs).value == pytest.approx(7 / 11)


@pytest.mark.parametrize("count", [1, 7])
def test_kappa_is_unknown_where_both_always_say_the_same_thing(count: int) -> None:
    kappa = cohens_kappa([("success", "success")] * count)
    assert (kappa.value, kappa.low, kappa.high) == (None, None, None)
    assert (kappa.observed, kappa.expected, kappa.num_episodes) == (1.0, 1.0, count)


def test_kappa_without_episodes_is_unknown() -> None:
    assert cohens_kappa([]).value is None


def test_kappa_is_zero_if_one_of_them_always_says_the_same() -> None:
    assert cohens_kappa([("s", "s"), ("f", "s"), ("s", "s"), ("f", "s")]).value == 0.0


def test_the_newest_label_of_each_counts_and_a_withdrawn_one_takes_all() -> None:
    history = [success("anna", 3), failure("bob", 4), success("anna", 7)]
    assert newest_of_each(history) == {"bob": history[1], "anna": history[2]}
    taken_back = [*history, Label("anna", (), withdrawn=True), failure("carl", 2)]
    assert newest_of_each(taken_back) == {"carl": taken_back[-1]}


def test_events_match_in_order_and_as_many_as_possible() -> None:
    # The nearest pair alone (14, 15) would leave 10 and 20 without one: 10–15, 14–20 are two.
    first, second = turns("anna", 10, 14), turns("bob", 15, 20)
    found = compare(first, second, HZ)
    assert [(match.first.step, match.second.step) for match in found.matches] == [
        (10, 15),
        (14, 20),
    ]
    assert found.agree


def test_of_equally_many_pairs_the_closest_are_taken() -> None:
    found = compare(turns("anna", 10), turns("bob", 4, 11, 19), HZ)
    assert [match.difference for match in found.matches] == [1]
    assert [event.step for event in found.only_second] == [4, 19]
    assert not found.agree


def test_an_event_further_away_than_a_second_is_another_one() -> None:
    assert compare(success("a", 20), success("b", 30), HZ).agree
    apart = compare(success("a", 20), success("b", 31), HZ)
    assert (len(apart.matches), len(apart.only_first), len(apart.only_second)) == (0, 1, 1)


def test_two_events_in_one_step_are_two() -> None:
    found = compare(turns("a", 5, 5), turns("b", 5), HZ)
    assert (len(found.matches), len(found.only_first), len(found.only_second)) == (1, 1, 0)


def test_as_many_events_as_a_label_may_have_are_compared_soon() -> None:
    """A thousand each, all within reach of each other: what one person may send to the server."""
    began_s = time.process_time()
    assert len(match_steps([0] * 1000, [1] * 1000, 10)) == 1000
    assert len(match_steps(range(1000), range(1, 1001), 10)) == 1000
    assert time.process_time() - began_s < 5


def test_a_reward_of_another_size_is_another_event() -> None:
    first, second = Label("a", (Event(5, "reward", 1.0),)), Label("b", (Event(5, "reward", 2.0),))
    assert not compare(first, second, HZ).agree


def test_nothing_happened_is_an_outcome_and_an_end_another() -> None:
    nothing, ended = Label("a", ()), Label("b", (Event(5, "end"),))
    assert (outcome_of(nothing), outcome_of(ended)) == ("none", "end")
    assert compare(nothing, Label("b", ()), HZ).agree
    assert not compare(nothing, ended, HZ).agree


def test_states_of_an_episode() -> None:
    agreed = [success("anna", 20), success("bob", 22)]
    against = [success("anna", 20), failure("bob", 22)]
    settled = [*against, resolution("carl", (Event(21, "success", 1.0),))]
    assert state_of([], HZ) == "unlabelled"
    assert state_of([], HZ, is_proposed=True) == "proposed"
    assert state_of(agreed[:1], HZ, is_proposed=True) == "labelled"
    assert state_of(agreed, HZ) == "labelled"
    assert state_of(against, HZ) == "disagreement"
    assert state_of(settled, HZ) == "labelled"
    assert state_of([*settled, failure("dora", 9)], HZ) == "disagreement"
    assert state_of([*settled, success("dora", 23)], HZ) == "labelled"
    assert state_of([*against, Label("anna", (), withdrawn=True)], HZ) == "unlabelled"


def test_a_resolution_is_a_label_and_compared_with_nobody() -> None:
    settled = resolution("resolution:carl", (Event(21, "success", 1.0),))
    assert settled.annotator == "resolution:carl"
    history = [success("anna", 20), settled]
    assert list(newest_of_each(history)) == ["anna"]
    assert agreements({0: history}, HZ) == ()


def test_agreement_of_three_annotators() -> None:
    histories = {
        0: [success("bob", 20), success("anna", 18)],
        3: [success("anna", 10), failure("bob", 10)],
        4: [Label("anna", ()), Label("bob", ()), turns("carl", 2)],
        9: [success("anna", 10)],
    }
    pairs = {pair.annotators: pair for pair in agreements(histories, HZ)}
    assert list(pairs) == [("anna", "bob"), ("anna", "carl"), ("bob", "carl")]
    both = pairs["anna", "bob"]
    # Same 2 of 3; expected (2·1 + 0·1 + 1·1) / 9 = 1/3, so (2/3 − 1/3) / (2/3) = 1/2.
    assert both.kappa.value == pytest.approx(0.5)
    assert both.differences_s == (0.2,)
    assert (both.only_first, both.only_second, both.disagreements) == (1, 1, (3,))
    assert pairs["anna", "carl"].disagreements == (4,)
