"""The benchmarks run, at toy sizes, and count what they claim to count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__ as command
from benchmarks import (
    action_selection,
    checkpoint_time,
    data_append,
    data_images,
    data_import,
    data_memory,
    data_throughput,
    deployed_decision,
    gpu_check,
    image_training,
    import_memory,
    label_page,
    paper_images,
    render_speed,
    robot_loop,
    rollout_latency,
    stored_frames,
    update_beside_peers,
    update_time,
)
from benchmarks.matrix_products import PlainProducts, Product, record_products, total_flops
from benchmarks.measuring import Section, Timings, measure
from softflow.data.chunk_spec import ChunkSpec
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoders.mixed import MixedConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.images.timm_backbone import TimmConfig
from softflow.models.policies.coupling import FlowConfig
from softflow.presets import small
from softflow.training.config import ModelConfig, TrainingConfig
from softflow.utils.files import read_json

FROZEN = TimmConfig(name="test_resnet")


@pytest.fixture
def tiny() -> TrainingConfig:
    model = ModelConfig(
        ChunkSpec(4, 4),
        FlowConfig(num_layers=2, dim=8, num_heads=2, mlp_dim=8, head_hidden_dim=8),
        StateMlpConfig(token_dim=8, hidden_dim=8, state_tokens=2),
        TransformerCriticConfig(dim=8, num_heads=2, num_layers=2, mlp_dim=8, dropout=0.1),
    )
    return replace(small(), model=model)


@pytest.mark.slow
def test_every_section_has_positive_times_and_ratios(
    tiny: TrainingConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Compiling takes a minute; the sentence printed where there is no compiler is tested instead.
    monkeypatch.setattr(action_selection, "missing_compiler", lambda _: "not measured: no compiler")
    seeing = replace(
        tiny,
        model=replace(tiny.model, encoder=MixedConfig(8, state_tokens=1, image=FROZEN)),
        imitation=replace(tiny.imitation, batch_size=4),
        offline_rl=replace(tiny.offline_rl, batch_size=4),
    )
    size = action_selection.DecisionSize(tiny.model, action_dim=3, num_tokens=5, num_candidates=4)

    def toy_benchmarks(options: command.Options) -> dict[str, object]:
        turns = options.turns
        return {
            "action_selection": lambda: action_selection.run(size, turns, "cpu"),
            "update_small": lambda: update_time.run("tiny", tiny, "≤ 4", turns, 3, "cpu"),
            "update_peers": lambda: update_beside_peers.run({"tiny": tiny}, turns, (8, 8)),
            "checkpoint": lambda: checkpoint_time.run("tiny", tiny, turns, "cpu"),
            "data": lambda: data_throughput.run(8, turns, 2, 10),
            "data_images": lambda: data_images.run(tiny.model.chunk, turns, 2, 6, 4),
            "data_memory": lambda: data_memory.run(tiny.model.chunk, 8, (20, 40), 10, 100),
            "data_append": lambda: data_append.run(turns, 1, 3),
            "data_import": lambda: data_import.run(turns, 1, 6),
            "stored_frames": lambda: stored_frames.run(turns, 1, 16, 6),
            "import_memory": lambda: import_memory.run((3, 6), (16, 24)),
            "images": lambda: image_training.run(seeing, turns, "cpu", 2, 6),
            "paper_images_84": lambda: paper_images.run(
                paper_images.Case("tiny", seeing, 1, 32, 2), turns, "cpu"
            ),
            "rollout": lambda: rollout_latency.run("tiny", tiny, turns),
            "deployed": lambda: deployed_decision.run("tiny", tiny, turns),
            "robot": lambda: robot_loop.run(turns, 8, 5),
            "render": lambda: render_speed.run(turns, ("lift",), 16),
            "label": lambda: label_page.run(turns, 20, 16, browser=""),
        }

    monkeypatch.setattr(command, "benchmarks", toy_benchmarks)
    sections = command.main(command.Options(turns=2, json=tmp_path / "result.json"))
    counts = [7, 12, 8, 3, 12, 8, 2, 4, 6, 6, 4, 10, 7, 3, 4, 5, 4, 3]
    assert [len(section.rows) for section in sections] == counts
    spreads = [s for section in sections for row in section.rows for s in (row.ms, row.ratio) if s]
    assert all(0 < spread.low <= spread.median <= spread.high for spread in spreads)
    assert "no compiler" in sections[0].rows[-1].note
    assert_written(sections, tmp_path / "result.json")


def assert_written(sections: list[Section], path: Path) -> None:
    written = read_json(path)
    assert [s["title"] for s in written["sections"]] == [s.title for s in sections]
    assert written["machine"]["threads"] == torch.get_num_threads()


@pytest.mark.slow
def test_recorded_operations_are_those_of_torchs_own_counter(tiny: TrainingConfig) -> None:
    for name, update in update_time.updates(tiny, 3).items():
        with FlopCounterMode(display=False) as counter:
            update()
        unbatched = {p: n for p, n in record_products(update).items() if p.count == 1}
        counted = counter.get_flop_counts()["Global"]
        expected = sum(counted.get(getattr(torch.ops.aten, op), 0) for op in ("mm", "addmm"))
        assert total_flops(unbatched) == expected, name


def test_attention_counts_as_two_products_forwards_and_five_backwards() -> None:
    query, key, value = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (4, 5, 5))
    attend = lambda: F.scaled_dot_product_attention(query, key, value)  # noqa: E731
    one_product = 2 * 6 * 4 * 5 * 8
    assert total_flops(record_products(attend)) == 2 * one_product
    assert total_flops(record_products(lambda: attend().sum().backward())) == 7 * one_product


def test_plain_products_repeat_what_was_recorded() -> None:
    left, right = torch.randn(3, 4), torch.randn(5, 4)
    products = record_products(lambda: [left @ right.T for _ in range(2)])
    assert products == {Product(1, 3, 4, 5, right_transposed=True): 2}
    assert record_products(PlainProducts(products, "cpu")) == products


def test_ratios_are_formed_inside_each_turn() -> None:
    timings = Timings({"a": np.array([2.0, 20.0, 6.0]), "b": np.array([1.0, 10.0, 2.0])})
    assert timings.ratio("a", "b").median == 2.0


def test_variants_take_turns() -> None:
    order: list[str] = []
    measure({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, loops={"b": 2})
    assert "".join(order) == "ab" + "abb" * 2


def test_the_check_of_a_gpu_runs_without_one(
    tiny: TrainingConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "TURNS", 1)
    monkeypatch.setattr(gpu_check, "CANDIDATES", (2,))
    assert gpu_check.check(replace(tiny, device="cpu")) == 0
    said = capsys.readouterr().out
    assert said.count(" ms, waits 0 times") == 8
    assert "imitation loss: float32" in said
    assert "decision among 2: " in said
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main() == 2
