"""The coupling's transformer: real times, causality, and candidates that share only keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from softflow.errors import ConfigError
from softflow.models.policies.coupling import Coupling, CouplingNetwork, FlowConfig
from softflow.models.policies.flow_policy import ActionFlow
from softflow.models.policies.transformer import (
    CausalSelfAttention,
    CrossAttention,
    FlowBlock,
    SwiGLU,
    rotary_table,
    rotate,
)

Randomize = Callable[[nn.Module, int], None]


@pytest.fixture
def float64() -> Iterator[None]:
    """Tables are made in torch's default precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def rows(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.usefixtures("float64")
def test_rotation_by_hand() -> None:
    """Head width 4: components (0, 2) turn by t, (1, 3) by t / 10."""
    time = 3.0
    table = rotary_table(torch.tensor([time]), 4)
    turned = rotate(rows(1.0, 0.0, 0.0, 0.0), table)
    torch.testing.assert_close(turned, rows(math.cos(time), 0, math.sin(time), 0))
    turned = rotate(rows(0.0, 0.0, 1.0, 0.0), table)
    torch.testing.assert_close(turned, rows(-math.sin(time), 0, math.cos(time), 0))
    turned = rotate(rows(0.0, 2.0, 0.0, 0.0), table)
    torch.testing.assert_close(turned, rows(0, 2 * math.cos(0.3), 0, 2 * math.sin(0.3)))
    torch.testing.assert_close(
        rotate(rows(1.0, 2.0, 3.0, 4.0), rotary_table(torch.zeros(1), 4)), rows(1, 2, 3, 4)
    )


@pytest.mark.usefixtures("float64")
@given(
    head_dim=st.sampled_from([2, 4, 8, 32]),
    first=st.integers(0, 50),
    second=st.integers(0, 50),
    shift=st.integers(0, 50),
)
def test_only_time_differences_count(head_dim: int, first: int, second: int, shift: int) -> None:
    generator = torch.Generator().manual_seed(first)
    query, key = torch.randn(2, 1, head_dim, generator=generator, dtype=torch.float64)

    def score(query_time: int, key_time: int) -> float:
        turned_query = rotate(query, rotary_table(torch.tensor([query_time]), head_dim))
        turned_key = rotate(key, rotary_table(torch.tensor([key_time]), head_dim))
        assert math.isclose(turned_query.norm(), query.norm(), rel_tol=1e-12)
        return (turned_query * turned_key).sum().item()

    together = score(first, second)
    assert math.isclose(together, score(first + shift, second + shift), abs_tol=1e-11)
    if first != second:
        assert abs(together - score(first, first)) > 1e-6


@pytest.mark.usefixtures("float64")
def test_attention_depends_on_the_distance_of_tokens_in_time(randomize: Randomize) -> None:
    attention = CausalSelfAttention(8, 2)
    randomize(attention, 0)
    x = torch.randn(1, 1, 3, 8)
    near = attention(x, rotary_table(torch.tensor([0, 1, 2]), 4))
    later = attention(x, rotary_table(torch.tensor([5, 6, 7]), 4))
    apart = attention(x, rotary_table(torch.tensor([0, 1, 5]), 4))
    torch.testing.assert_close(near, later, rtol=0, atol=1e-12)
    torch.testing.assert_close(near[:, :, :2], apart[:, :, :2], rtol=0, atol=1e-12)
    assert (near[:, :, 2] - apart[:, :, 2]).abs().max() > 1e-3


# Moved tokens of a chunk, and the times the stream must have: kept ones, then empty ones.
STREAMS = [
    ([True, False, False, True], [1, 2]),
    ([False, True, False, False, True], [0, 2, 3]),
    ([True, False, True, True, False], [1, 4, 3]),
    ([True], [0]),
]


@pytest.mark.parametrize(("moved", "times"), STREAMS)
def test_streams_carry_their_times_in_the_chunk(moved: list[bool], times: list[int]) -> None:
    coupling = Coupling(torch.tensor(moved), 2, 6, FlowConfig(2, 8, 2, 12, 10))
    assert coupling.kept.tolist() == [i for i, is_moved in enumerate(moved) if not is_moved]
    assert coupling.moved.tolist() == [i for i, is_moved in enumerate(moved) if is_moved]
    expected = rotary_table(torch.tensor(times), 4)
    torch.testing.assert_close(coupling.rotary, expected, rtol=0, atol=0)


@pytest.mark.parametrize("chunk_length", [2, 3, 5, 6, 7])
def test_no_stream_sees_later_kept_tokens(
    make_flow: Callable[..., ActionFlow],
    make_tokens: Callable[..., Tensor],
    make_actions: Callable[..., Tensor],
    chunk_length: int,
) -> None:
    """Stream k decides on the k-th moved token from kept tokens 0 ... k, all of them."""
    flow = make_flow(chunk_length, 2, 2)
    condition = flow.condition(make_tokens(1, 3))
    for layer, layer_condition in zip(flow.couplings, condition, strict=True):
        assert isinstance(layer, Coupling)
        kept = make_actions((1, 1, layer.rotary.shape[1], 2))

        def outputs(
            kept: Tensor,
            network: CouplingNetwork = layer.network,
            layer: Coupling = layer,
            layer_condition: list = layer_condition,
        ) -> Tensor:
            return torch.stack(network(kept, layer.rotary, layer_condition))[:, 0, 0]

        jacobian = torch.autograd.functional.jacobian(outputs, kept)
        assert isinstance(jacobian, Tensor)
        influence = jacobian[:, :, :, 0, 0].abs().amax((0, 2, 4))
        length = kept.shape[2]
        seen = torch.tril(torch.ones(length, length, dtype=torch.bool))
        assert not influence[~seen].any()
        assert (influence[seen] > 1e-9).all()


def test_candidates_folded_into_queries_equal_separate_batches(
    make_tokens: Callable[..., Tensor], randomize: Randomize
) -> None:
    attention = CrossAttention(8, 2).double()
    randomize(attention, 0)
    x, tokens = make_tokens(2 * 3, 4, dim=8).view(2, 3, 4, 8), make_tokens(2, 5, seed=1, dim=8)
    keys_values = attention.keys_values(tokens)
    assert keys_values[0].shape == keys_values[1].shape == (2, 2, 5, 4)
    folded = attention(x, keys_values)
    repeated = attention.keys_values(tokens.repeat_interleave(3, dim=0))
    separate = attention(x.view(6, 1, 4, 8), repeated).view(2, 3, 4, 8)
    torch.testing.assert_close(folded, separate, rtol=1e-12, atol=1e-12)


def test_cross_attention_equals_the_textbook(
    make_tokens: Callable[..., Tensor], randomize: Randomize
) -> None:
    """Softmax of normalised queries and keys, written out head by head."""
    attention = CrossAttention(8, 2).double()
    randomize(attention, 0)
    x, tokens = make_tokens(1, 4, dim=8)[:, None], make_tokens(1, 5, seed=1, dim=8)
    query = attention.query(x[0, 0])
    key, value = attention.key_value(tokens[0]).chunk(2, dim=-1)
    heads: list[Tensor] = []
    for head in range(2):
        columns = slice(4 * head, 4 * head + 4)
        q, k = attention.query_norm(query[:, columns]), attention.key_norm(key[:, columns])
        heads.append((q @ k.T / 2).softmax(-1) @ value[:, columns])
    expected = attention.out(torch.cat(heads, dim=-1))
    actual = attention(x, attention.keys_values(tokens))[0, 0]
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_swiglu_by_hand() -> None:
    """W1 = 1, W2 = 2, W3 = 3, x = 0.5: 3 * silu(0.5) * 1."""
    mlp = SwiGLU(1, 1).double()
    with torch.no_grad():
        mlp.gate_and_value.weight.copy_(torch.tensor([[1.0], [2.0]]))
        mlp.out.weight.fill_(3.0)
    expected = 3 * 0.5 / (1 + math.exp(-0.5)) * 1.0
    assert mlp(torch.tensor([0.5], dtype=torch.float64)).item() == pytest.approx(expected)


def test_a_fresh_block_is_not_modulated_and_a_random_one_is(
    make_tokens: Callable[..., Tensor], randomize: Randomize
) -> None:
    """Modulation starts at zero: the pooled vector has no say until it is learned."""
    block = FlowBlock(8, 2, 12, cross_attention=False).double()
    x, rotary = make_tokens(1, 3, dim=8)[:, None], rotary_table(torch.arange(3), 4)

    def run(pooled: Tensor) -> Tensor:
        return block(x, rotary, block.condition(pooled[:, None], pooled))

    one, other = make_tokens(1, 1, dim=8)[:, 0], make_tokens(1, 1, seed=1, dim=8)[:, 0]
    torch.testing.assert_close(run(one), run(other), rtol=0, atol=0)
    randomize(block, 0)
    assert (run(one) - run(other)).abs().max() > 1e-2


def modulated(block: FlowBlock, x: Tensor, **sections: float) -> Tensor:
    """The block's output when its modulation is constant; sections not named are zero."""
    names = ["shift_a", "scale_a", "gate_a", "shift_m", "scale_m", "gate_m"]
    last = block.modulation[2]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(
            torch.tensor([sections.get(name, 0.0) for name in names]).repeat_interleave(8)
        )
    tokens = torch.ones(1, 2, 8, dtype=torch.float64)
    rotary = rotary_table(torch.arange(x.shape[2]), 4)
    return block(x, rotary, block.condition(tokens, tokens.mean(dim=1)))


def test_modulation_shifts_scales_and_gates_attention_and_mlp(
    make_tokens: Callable[..., Tensor], randomize: Randomize
) -> None:
    """A gate of -1 shuts a part, and so does a scale of -1: no part has a bias of its own."""
    block = FlowBlock(8, 2, 12, cross_attention=False).double()
    randomize(block, 0)
    x, other = make_tokens(1, 3, dim=8)[:, None], make_tokens(1, 3, seed=1, dim=8)[:, None]
    torch.testing.assert_close(modulated(block, x, gate_a=-1, gate_m=-1), x, rtol=0, atol=0)
    torch.testing.assert_close(modulated(block, x, scale_a=-1, scale_m=-1), x, rtol=0, atol=0)

    plain = block.self_attention(block.self_norm(x), rotary_table(torch.arange(3), 4))
    only_attention = x + 1.5 * plain
    torch.testing.assert_close(modulated(block, x, gate_a=0.5, gate_m=-1), only_attention)
    only_mlp = x + 1.5 * block.mlp(3 * block.mlp_norm(x))
    torch.testing.assert_close(modulated(block, x, gate_a=-1, gate_m=0.5, scale_m=2), only_mlp)

    for gates in ({"gate_m": -1}, {"gate_a": -1}):
        shift = {"shift_a": 0.7, "scale_a": -1, "shift_m": 0.7, "scale_m": -1} | gates
        added = modulated(block, x, **shift) - x
        assert added.abs().max() > 1e-2
        torch.testing.assert_close(modulated(block, other, **shift) - other, added)


@pytest.mark.parametrize("action_dim", [7, 17, 24])
def test_a_layer_has_the_papers_number_of_parameters(action_dim: int) -> None:
    """3,283,904 + 1,282 A at hidden 256 and observation tokens of 512 (App. C1)."""
    with torch.device("meta"):
        network = CouplingNetwork(action_dim, 512, FlowConfig())
    count = sum(p.numel() for p in network.parameters())
    assert count == 3_283_904 + 1_282 * action_dim


def test_the_flow_holds_no_parameters_besides_its_layers() -> None:
    """At the paper's widths: layers are the coupling networks, and nothing else is learned."""
    flow = ActionFlow(10, 7, 512, FlowConfig(num_layers=2))
    count = sum(p.numel() for p in flow.parameters())
    assert count == 2 * (3_283_904 + 1_282 * 7)


@pytest.mark.parametrize("name", ["num_layers", "dim", "num_heads", "mlp_dim", "head_hidden_dim"])
def test_sizes_below_one_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"flow\.{name} is 0; it must be at least 1"):
        FlowConfig(**{name: 0})


def test_an_odd_head_width_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"flow\.dim 12 must be a multiple of 2 x .*\(4\)"):
        FlowConfig(dim=12, num_heads=4)
