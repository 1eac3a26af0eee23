"""Plain gymnasium environments keep softflow's contract through the adapter."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from softflow.envs.check_env import check_env
from softflow.envs.contract import data_spec
from softflow.envs.gymnasium_env import GymnasiumEnv
from softflow.envs.registry import make_env
from softflow.errors import ConfigError, EnvironmentContractError
from softflow.utils.imports import trust

PAGE = Path(__file__).parents[2] / "docs" / "environments.md"
STATE = spaces.Box(-10, 10, (2, 2), np.float64)
EYE = spaces.Box(0, 255, (8, 9, 3), np.uint8)


class Plain(gymnasium.Env[Any, Any]):
    """As people have them: float64, a Dict with names of its own, no word of softflow's."""

    observation_space: spaces.Space[Any] = spaces.Dict(agent=STATE, eye=EYE)
    action_space: spaces.Space[Any] = spaces.Box(0.5, 1, (2,), np.float64)
    ends_badly = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at = self.np_random.uniform(-1, 1, (2, 2))
        return self._seen(), {}

    def step(self, action: np.ndarray) -> Any:
        assert action.dtype == np.float64
        self.at += action
        there = bool(self.at.mean() > 5)
        ended = self.ends_badly and bool(self.at.mean() > 2)
        return self._seen(), -1.0, ended, False, {"is_success": np.float32(there)}

    def _seen(self) -> Any:
        return {"agent": self.at, "eye": np.full((8, 9, 3), 7, np.uint8)}


def adapted(env: gymnasium.Env[Any, Any] | None = None, **options: Any) -> GymnasiumEnv:
    told: dict[str, Any] = {"control_hz": 10.0, "success": "is_success", "max_episode_steps": 20}
    return GymnasiumEnv(env or Plain(), **told | options)


def ended(env: GymnasiumEnv, action: float = 1.0) -> tuple[int, float, bool, bool, dict[str, Any]]:
    """The last step of an episode, and its number."""
    env.reset(seed=0)
    for number in range(1, 100):
        _, reward, terminated, truncated, info = env.step(np.full(2, action, np.float32))
        if terminated or truncated:
            return number, float(reward), terminated, truncated, info
    raise AssertionError("it never ends")


def test_the_contract_is_kept() -> None:
    env = adapted()
    check_env(env, solution=(0, np.ones((20, 2), np.float32)))
    spec = data_spec(env, "mine:make")
    assert spec.observation_shapes == {
        "observation.agent": (4,),
        "observation.images.eye": (8, 9, 3),
    }
    assert spec.held_still == (0.5, 0.5), "the bound nearest to zero"
    check_env(adapted(keys={"agent": "observation.state"}))


def test_success_ends_an_episode_and_so_do_failure_and_the_time_limit() -> None:
    number, reward, terminated, truncated, info = ended(adapted())
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
    assert number < 20
    bad = Plain()
    bad.ends_badly = True
    check_env(adapted(bad))
    number, reward, terminated, truncated, info = ended(adapted(bad))
    assert (reward, terminated, info["success"], info["events"]) == (0.0, True, False, ["failed"])
    assert ended(adapted(max_episode_steps=2))[:4] == (2, 0.0, False, True)


def test_a_function_may_tell_success() -> None:
    env = adapted(success=lambda observation, reward, terminated, info: info["is_success"] > 0.5)
    assert ended(env)[4]["success"] is True
    with pytest.raises(EnvironmentContractError, match=r"no 'solved'.* has \['is_success'\]"):
        ended(adapted(success="solved"))


def test_what_cannot_be_adapted_is_told_with_a_way_out() -> None:
    discrete, endless = Plain(), Plain()
    discrete.action_space = spaces.Discrete(3)
    endless.action_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    with pytest.raises(EnvironmentContractError, match="Discrete"):
        adapted(discrete)
    with pytest.raises(EnvironmentContractError, match="RescaleAction"):
        adapted(endless)
    nested = Plain()
    nested.observation_space = spaces.Dict(agent=STATE, more=spaces.Dict(eye=EYE))
    with pytest.raises(EnvironmentContractError, match="FlattenObservation"):
        adapted(nested)
    with pytest.raises(ConfigError, match=r"names 'camera'; the environment has \['agent', 'eye'"):
        adapted(keys={"camera": "observation.images.camera"})
    with pytest.raises(ConfigError, match="no time limit; give one"):
        adapted(max_episode_steps=None)
    with pytest.raises(ConfigError, match=r"is 300, .* after 200"):
        adapted(gymnasium.make("Pendulum-v1"), max_episode_steps=300)


def test_a_plain_environment_in_place_of_a_robot_env_is_told_of_the_adapter() -> None:
    name = f"{__name__}:Plain"
    trust(name)
    with pytest.raises(ConfigError, match="GymnasiumEnv"):
        make_env(name)


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    [module, use] = [block for block in blocks if "GymnasiumEnv" in block or "hill:make" in block]
    (tmp_path / "hill.py").write_text(module)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    exec(compile(use, str(PAGE), "exec"), namespace)
    sys.modules.pop("hill")
    env = namespace["env"]
    assert (env.control_hz, env.max_episode_steps) == (30.0, 999)
    check_env(env)
