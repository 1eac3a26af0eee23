"""The small detector: its geometry against itself, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from softflow.errors import ConfigError, DataError
from softflow.perception.detectors import heatmaps
from softflow.perception.detectors.detection import (
    Batch,
    CornerNetwork,
    Detection,
    batch_of,
    find_cube,
)
from softflow.perception.detectors.heatmaps import HeatmapConfig, HeatmapNetwork
from softflow.perception.renders import Renders

CPU = torch.device("cpu")


def test_cut_outs_and_cells_agree() -> None:
    """A bright pixel lies in its region's cut-out where `_to_cells` says."""
    picture = torch.zeros(1, 1, 240, 320)
    picture[0, 0, 130:133, 170:173] = 1.0
    region = torch.tensor([[165.0, 120.0, 90.0, 0.5]])
    cut = heatmaps._cut_out(picture, region)[0, 0]
    rows, columns = torch.meshgrid(*2 * [torch.arange(64.0)], indexing="ij")
    found = torch.stack([(cut * columns).sum(), (cut * rows).sum()]) / cut.sum()
    cells = heatmaps._to_cells(torch.tensor([[[171.0, 131.0]]]), region)[0, 0]
    # A cell of the maps is two pixels of the cut-out.
    torch.testing.assert_close((found + 0.5) / 2 - 0.5, cells, atol=0.05, rtol=0)


def test_detection_undoes_the_region() -> None:
    """Heat at a cell becomes the pixel that training would have put there."""
    region = torch.tensor([[165.0, 120.0, 90.0, 0.0]])
    corners = torch.tensor([[[130.0 + 8 * i, 90.0 + 7 * i] for i in range(8)]])
    cells = heatmaps._to_cells(corners, region)
    heat = heatmaps._gaussians(cells, 32)[0].log()
    output = heatmaps._CornerOutput(
        heat, 9 * torch.eye(7)[0, :, None, None].expand(7, 32, 32), torch.zeros(8)
    )
    found = heatmaps._detection(0.9, region[0], output)
    np.testing.assert_allclose(found.corners, corners[0].numpy(), atol=0.02)
    assert (found.weights[:, 0] > 0.9).all()
    assert (found.weights[:, 1:] == 0).all()
    np.testing.assert_allclose(found.spread_px[:, 0], 0.3 * 90 / 32, rtol=0.1)
    assert not found.mask.any()


def test_faces_are_where_the_picture_shows_their_colours(renders_folder: Path) -> None:
    """What a cell should show has the hue of that face in the picture."""
    renders, right, total = Renders(renders_folder), 0, 0
    for render in (renders[i] for i in range(12)):
        batch = batch_of([render], CPU)
        if not render.labels.present:
            continue
        regions = heatmaps._regions(batch.boxes)
        pictures = batch.pictures.permute(0, 3, 1, 2).float()
        colours = torch.nn.functional.avg_pool2d(heatmaps._cut_out(pictures, regions), 2)[0]
        masks = torch.nn.functional.avg_pool2d(
            heatmaps._cut_out(batch.masks[:, None].float(), regions), 2
        )[:, 0]
        shown = heatmaps._shown(heatmaps._to_cells(batch.corners, regions), masks > 0.99)[0]
        expected = torch.tensor(renders.record.cube.face_colours)
        for face in range(6):
            cells = colours[:, shown == face + 1].T
            if len(cells) > 20:
                mine = cells.median(0).values
                mine, all_faces = (
                    mine - 0.7 * mine.min(),
                    expected - 0.7 * expected.amin(1)[:, None],
                )
                cosines = torch.nn.functional.cosine_similarity(mine[None], all_faces)
                right, total = right + int(cosines.argmax() == face), total + 1
    assert total > 10
    assert right >= 0.9 * total


def test_boxes_are_found_where_targets_put_them(renders_folder: Path) -> None:
    renders = Renders(renders_folder)
    batch = batch_of([renders[i] for i in range(12)], CPU)
    cells, numbers = heatmaps._cell_targets(batch)
    logits = torch.full((12, 301), -9.0)
    logits[torch.arange(12), cells] = 9.0
    dense = torch.zeros(12, 300, 4)
    dense[torch.arange(12), cells] = numbers
    scores, boxes = heatmaps._best_box((logits, dense))
    assert (scores > 0.99).all()
    there = batch.present
    torch.testing.assert_close(boxes[there], batch.boxes[there], atol=1.0, rtol=0)


def test_it_learns_a_few_pictures_by_heart(renders_folder: Path) -> None:
    torch.manual_seed(0)
    renders = Renders(renders_folder)
    chosen = [r for r in (renders[i] for i in range(12)) if r.labels.present][:4]
    batch, generator = batch_of(chosen, CPU), torch.Generator()
    network = HeatmapNetwork(HeatmapConfig(width=8))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    first = last = {}
    for _ in range(25):
        last = network.losses(batch, generator)
        first = first or last
        optimizer.zero_grad()
        torch.stack(list(last.values())).sum().backward()
        optimizer.step()
    assert last["heat"].item() < 0.85 * first["heat"].item()
    assert last["place"].item() < 0.3 * first["place"].item()
    assert all(p.grad is not None for p in network.parameters())


def test_pictures_without_a_cube_are_learned_from(renders_folder: Path) -> None:
    render = Renders(renders_folder)[0]
    empty = replace(render, labels=replace(render.labels, present=False))
    losses = HeatmapNetwork(HeatmapConfig(width=8)).losses(
        batch_of([empty], CPU), torch.Generator()
    )
    assert set(losses) == {"place", "box"}
    assert losses["box"].item() == 0


class Told(CornerNetwork):
    """Finds whatever it is told, and remembers what it saw."""

    def __init__(self, corners: np.ndarray) -> None:
        super().__init__()
        self.corners, self.saw = corners, torch.zeros(0)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        raise NotImplementedError

    def detect(self, pictures: Tensor) -> list[Detection | None]:
        self.saw = pictures
        ones, mask = np.ones(8), np.zeros((240, 320), bool)
        mask[:120] = True
        each = np.ones((8, 1))
        return [Detection(1.0, np.zeros(4), self.corners[:, None], each, each, ones, mask)]


@pytest.mark.parametrize("size", [(240, 320), (480, 640), (1080, 1920), (100, 500)])
def test_pictures_of_any_size_are_brought_to_the_networks(size: tuple[int, int]) -> None:
    height, width = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2] = 200
    scale = min(240 / height, 320 / width)
    there = np.tile([0.25 * width, 0.5 * height], (8, 1))
    network = Told((there + 0.5) * scale - 0.5)
    found = find_cube(network, picture)
    assert found is not None
    assert network.saw.shape == (1, 240, 320, 3)
    np.testing.assert_allclose(found.corners, there)
    assert found.mask.shape == size
    assert found.spread_px[0, 0] == pytest.approx(1 / scale)


def test_what_is_no_picture_and_no_size() -> None:
    with pytest.raises(DataError, match=r"float64 \(2, 2\).*uint8"):
        find_cube(Told(np.zeros((8, 2))), np.zeros((2, 2)))
    with pytest.raises(ConfigError, match="width is 4"):
        HeatmapConfig(width=4)
