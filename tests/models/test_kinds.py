"""Kinds are found by name or import path; nothing that is no network is ever called."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from gaussian_policy import GaussianConfig, GaussianPolicy

from softflow.errors import ConfigError
from softflow.models.critic import CRITICS
from softflow.models.critics.transformer_critic import TransformerCritic
from softflow.models.encoder import ENCODERS
from softflow.models.encoders.state_mlp import StateMlp, StateMlpConfig
from softflow.models.images.backbone import BACKBONES
from softflow.models.policies.flow_policy import FlowPolicy
from softflow.models.policy import POLICIES, ChunkPolicy, PolicyConfig
from softflow.utils.imports import trust


def test_built_in_and_own_kinds_are_found() -> None:
    assert POLICIES.find("flow") is FlowPolicy
    assert CRITICS.find("transformer") is TransformerCritic
    assert ENCODERS.find("state_mlp") is StateMlp
    assert POLICIES.find("gaussian_policy:GaussianPolicy") is GaussianPolicy
    assert POLICIES.default_config("gaussian_policy:GaussianPolicy") == GaussianConfig()
    assert ENCODERS.default_config("state_mlp") == StateMlpConfig()


def test_every_built_in_configuration_names_its_own_kind() -> None:
    for kinds in (POLICIES, CRITICS, ENCODERS, BACKBONES):
        for kind in kinds.built_in:
            assert kinds.default_config(kind).kind == kind


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("flwo", 'no policy "flwo"; did you mean "flow"'),
        (
            "diffusion",
            'no policy "diffusion"; choose one of flow, mlp_flow, or "package.module:Class"',
        ),
        ("no_such_module:Policy", "cannot import the policy .*No module named"),
        ("gaussian_policy:Missing", "cannot import the policy .*Missing"),
        (":Policy", "cannot import the policy"),
        ("subprocess:Popen", "no policy: .* is not derived from ChunkPolicy"),
        ("os:abort", "no policy: .* is not derived from ChunkPolicy"),
        ("softflow.models.encoders.state_mlp:StateMlp", "not derived from ChunkPolicy"),
    ],
)
def test_what_is_no_policy_is_refused(kind: str, message: str) -> None:
    trust(kind)
    with pytest.raises(ConfigError, match=message):
        POLICIES.find(kind)


class Unfinished(ChunkPolicy):
    """Says nothing yet."""

    Config = GaussianConfig


class Bare(GaussianPolicy):
    """Its configuration is no class."""

    Config = None  # type: ignore[assignment]


class Inherited(GaussianPolicy):
    """Has its parent's configuration, and with it its kind."""


class Nameless(GaussianPolicy):
    """Its configuration names no kind."""

    @dataclass(frozen=True)
    class Config(PolicyConfig):
        width: int = 32


def test_a_class_that_lacks_methods_is_refused() -> None:
    with pytest.raises(ConfigError, match="lacks condition, imitation_cost, to_chunks"):
        POLICIES.find(f"{__name__}:Unfinished")


@pytest.mark.parametrize(
    ("name", "named"), [("Inherited", "gaussian_policy:GaussianPolicy"), ("Nameless", "")]
)
def test_another_class_is_never_trained_in_its_place(name: str, named: str) -> None:
    with pytest.raises(ConfigError, match=f'names "{named}" as its kind') as caught:
        POLICIES.config_class(f"{__name__}:{name}")
    assert f'kind = "{__name__}:{name}"' in str(caught.value)


def test_a_built_in_may_be_called_by_its_path() -> None:
    path = POLICIES.built_in["flow"]
    assert POLICIES.config_class(path) is POLICIES.config_class("flow")


def test_a_class_without_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no configuration; give its class the attribute"):
        POLICIES.default_config(f"{__name__}:Bare")
