"""What to handle next in an OGBench manipulation task: which cube, button, drawer or window.

The oracles inside the `ogbench` package bring one object to one target; a task needs several of
them in the right order (unlock before opening, empty the target's place first, press the buttons
that solve the lights-out puzzle). `next_subgoal` looks at the current state only, so whatever went
wrong before, the next sub-goal leads on from there.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from softflow.envs.ogbench.tasks import OGBenchManipulation

SubgoalKind = Literal["cube", "button", "drawer", "window"]

PLACED_M = 0.04
"""A cube this near its target counts as placed (OGBench's own tolerance)."""
CUBE_SIZE_M = 0.04
SLIDE_TOLERANCE_M = 0.035
"""Drawer and window: a little inside OGBench's tolerance of 0.04."""
DRAWER_OPEN_M = -0.16
DRAWER_FRONT_Y_M = -0.3
"""A target beyond this lies in the drawer."""
PARKING_XY_M = ((0.35, 0.0), (0.5, 0.0), (0.425, 0.0), (0.35, 0.2), (0.5, -0.2))
"""Where a cube that is in another's way may wait."""


@dataclass(frozen=True)
class Subgoal:
    """One object to one target. `targets` are the info entries the OGBench oracles ask for."""

    kind: SubgoalKind
    index: int = 0
    targets: dict[str, Any] = field(default_factory=dict)


def next_subgoal(env: OGBenchManipulation) -> Subgoal | None:
    """The next object to handle, or None when every object is where it belongs."""
    if env.family == "scene":
        return _next_in_scene(env)
    if env.family == "puzzle-3x3":
        return _next_in_puzzle(env)
    return _next_cube(env)


# --- cubes -------------------------------------------------------------------------------------


def _cube_positions(env: OGBenchManipulation) -> tuple[np.ndarray, np.ndarray]:
    """Where the cubes are and where they belong, two arrays [num_cubes, 3] in m."""
    sim = env.simulator
    goal = [sim.data.mocap_pos[sim._cube_target_mocap_ids[i]] for i in range(sim._num_cubes)]
    return env.cube_positions(), np.array(goal)


def _move_cube(index: int, target: np.ndarray) -> Subgoal:
    targets = {
        "privileged/target_task": "cube",
        "privileged/target_block": index,
        "privileged/target_block_pos": np.asarray(target, dtype=np.float64),
        "privileged/target_block_yaw": np.zeros(1),
    }
    return Subgoal("cube", index, targets)


def _covered(now: np.ndarray, place: np.ndarray, ignore: int) -> bool:
    """Whether some other cube stands on or above `place` (closer than a cube in the plane)."""
    others = np.delete(now, ignore, axis=0)
    near = np.linalg.norm(others[:, :2] - place[:2], axis=1) < 1.2 * CUBE_SIZE_M
    return bool((near & (others[:, 2] > place[2] - 0.5 * CUBE_SIZE_M)).any())


def _next_cube(env: OGBenchManipulation) -> Subgoal | None:
    now, goal = _cube_positions(env)
    open_cubes = [
        i
        for i in np.argsort(goal[:, 2], kind="stable")
        if np.linalg.norm(now[i] - goal[i]) > PLACED_M
    ]
    free = [i for i in open_cubes if not _covered(now, now[i], ignore=int(i))]
    # A tower is built from below, and only onto a free place.
    lowest = [i for i in free if goal[i][2] <= min(goal[j][2] for j in open_cubes)]
    for i in lowest:
        if not _covered(now, goal[i], ignore=int(i)):
            return _move_cube(int(i), goal[i])
    return _clear_the_way(now, goal, free) if open_cubes else None


def _clear_the_way(now: np.ndarray, goal: np.ndarray, free: list[Any]) -> Subgoal | None:
    """Two cubes on each other's places: park one of them."""
    movable = free or [int(np.argmax(now[:, 2]))]
    for xy in PARKING_XY_M:
        place = np.array([*xy, 0.5 * CUBE_SIZE_M])
        distances = [np.linalg.norm(other[:2] - place[:2]) for other in (*now, *goal)]
        if min(distances) > 2.0 * CUBE_SIZE_M:
            return _move_cube(int(movable[0]), place)
    return None


# --- buttons, drawer, window -------------------------------------------------------------------


def _press(env: OGBenchManipulation, index: int) -> Subgoal:
    sim = env.simulator
    pressed_state = (int(sim._cur_button_states[index]) + 1) % 2
    targets = {
        "privileged/target_task": "button",
        "privileged/target_button": index,
        "privileged/target_button_state": pressed_state,
        "privileged/target_button_top_pos": sim.data.site_xpos[sim._button_site_ids[index]].copy(),
    }
    return Subgoal("button", index, targets)


def _slide(env: OGBenchManipulation, kind: Literal["drawer", "window"], target: float) -> Subgoal:
    """Move drawer or window until its joint stands at `target` (m)."""
    sim = env.simulator
    joint = sim.data.joint(f"{kind}_slide")
    handle = sim.data.site_xpos[sim._drawer_site_id if kind == "drawer" else sim._window_site_id]
    goal = handle + sim.data.joint(f"{kind}_slide").xaxis * (target - joint.qpos[0])
    targets = {
        "privileged/target_task": kind,
        f"privileged/target_{kind}_pos": np.array([target]),
        f"privileged/target_{kind}_handle_pos": goal,
    }
    return Subgoal(kind, 0, targets)


def _unlock_then_slide(
    env: OGBenchManipulation, kind: Literal["drawer", "window"], target: float
) -> Subgoal:
    lock = 0 if kind == "drawer" else 1
    if env.simulator._cur_button_states[lock] == 0:
        return _press(env, lock)
    return _slide(env, kind, target)


def _next_in_scene(env: OGBenchManipulation) -> Subgoal | None:
    sim = env.simulator
    drawer, window = (float(sim.data.joint(f"{k}_slide").qpos[0]) for k in ("drawer", "window"))
    if (subgoal := _next_scene_cube(env, drawer)) is not None:
        return subgoal
    if abs(drawer - sim._target_drawer_pos) > SLIDE_TOLERANCE_M:
        return _unlock_then_slide(env, "drawer", float(sim._target_drawer_pos))
    if abs(window - sim._target_window_pos) > SLIDE_TOLERANCE_M:
        return _unlock_then_slide(env, "window", float(sim._target_window_pos))
    wrong = np.flatnonzero(sim._cur_button_states != sim._target_button_states)
    return _press(env, int(wrong[0])) if len(wrong) else None


def _next_scene_cube(env: OGBenchManipulation, drawer: float) -> Subgoal | None:
    """What brings the cube to its place on the table or in the drawer; None when it is there."""
    sim = env.simulator
    now, goal = _cube_positions(env)
    if goal[0][1] > DRAWER_FRONT_Y_M:
        placed = np.linalg.norm(now[0] - goal[0]) <= PLACED_M
        return None if placed else _move_cube(0, goal[0])
    # The goal in the drawer is given for the closed drawer: until then, inside is good enough.
    if sim._is_in_drawer(now[0]):
        return None
    if abs(drawer - DRAWER_OPEN_M) > SLIDE_TOLERANCE_M:
        return _unlock_then_slide(env, "drawer", DRAWER_OPEN_M)
    return _move_cube(0, sim._drawer_center)


# --- the lights-out puzzle -----------------------------------------------------------------------


def lights_out_presses(states: np.ndarray, goal: np.ndarray) -> tuple[int, ...]:
    """The fewest buttons of a 3x3 lights-out puzzle that turn `states` [9] into `goal` [9].

    A press toggles the button and its neighbours in the four directions. The order of presses does
    not matter and pressing twice undoes itself, so the subsets of nine buttons are all there is.
    """
    wanted = (np.asarray(states) != np.asarray(goal)).astype(int)
    effect = _press_effects()
    for count in range(10):
        for presses in itertools.combinations(range(9), count):
            if np.array_equal(effect[list(presses)].sum(axis=0) % 2, wanted):
                return presses
    raise AssertionError("unreachable: the 3x3 puzzle's press effects are invertible")


def _press_effects() -> np.ndarray:
    """[9, 9]: row i holds a 1 for every button that a press of button i toggles."""
    rows, columns = np.divmod(np.arange(9), 3)
    distance = np.abs(rows[:, None] - rows) + np.abs(columns[:, None] - columns)
    return (distance <= 1).astype(int)


def _next_in_puzzle(env: OGBenchManipulation) -> Subgoal | None:
    """Of the buttons that solve the puzzle from here, the one nearest to the gripper."""
    sim = env.simulator
    presses = lights_out_presses(sim._cur_button_states, sim._target_button_states)
    if not presses:
        return None
    gripper = sim.data.site_xpos[sim._pinch_site_id][:2]
    tops = np.array([sim.data.site_xpos[sim._button_site_ids[i]][:2] for i in presses])
    return _press(env, presses[int(np.argmin(np.linalg.norm(tops - gripper, axis=1)))])
