"""A small detector for CPUs: where the cube is at low resolution, then its corners in a cut-out.

Mask R-CNN's two steps without what a single cube makes needless: no anchors, one region. Each
corner, hidden ones too, gets a heat map over the region, a distribution whose mean is the corner
and whose width says how sure it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softflow.errors import ConfigError
from softflow.perception.cube_model import FACE_CORNERS, FACE_NAMES, NUM_CORNERS
from softflow.perception.detectors.detection import (
    HEIGHT,
    WIDTH,
    Batch,
    CornerNetwork,
    Detection,
    floats,
)
from softflow.perception.geometry import parabola_top
from softflow.perception.pose.search import FaceMap

SHRINK = 4
"""The first network sees a quarter of the resolution."""
CELL = 16
"""Pixels of a cell in which the first network says the cube's middle is."""
REGION = 64
"""Side of the cut-out that the second network sees, pixels."""
STRIDE = 2
"""Of its heat maps, pixels of the cut-out."""
MARGIN = 1.4
"""The cut-out's side, as part of the box's longer one."""
TARGET_CELLS = 1.0
"""Standard deviation of the heat map that training aims at."""
HEAT_GAIN = 4.0
"""Makes heat maps narrow in fewer updates."""
MIN_SCORE = 0.5
LEAST_SHOWN = 0.03
"""Of a cut-out, the part that must show the cube: a cube in full sight fills half of it."""
NUM_PEAKS, AROUND = 4, 2
"""Peaks of a heat map that are looked at, and cells around each that belong to it."""
LEAST_WEIGHT = 0.02
"""Peaks that hold less of their map are none."""
SPREAD_CELLS = 0.3
"""Standard deviation of a peak that holds all of its map; of others it is larger."""
VIEWS = 2
"""Cut-outs of each picture in an update, each moved and turned its own way."""
MOVED, SCALED, TURNED_RAD = 0.08, 0.12, 0.6
"""How far cut-outs are off in training at most: parts of their side, and radians."""


NUM_SHOWN = 1 + len(FACE_NAMES)
"""What a place may show: something else, or one of the faces."""


@dataclass(frozen=True)
class HeatmapConfig:
    """Sizes of the small detector.

    Attributes:
        width: channels at the finest of its scales; the coarser have two and three times as many.

    Raises:
        ConfigError: it is outside of 8 to 256.
    """

    width: int = 32

    def __post_init__(self) -> None:
        if not 8 <= self.width <= 256:
            raise ConfigError(f"width is {self.width}; give 8 to 256 channels")


class HeatmapNetwork(CornerNetwork):
    """The two small networks, trained together."""

    def __init__(self, config: HeatmapConfig) -> None:
        super().__init__()
        self.locator = _Locator()
        self.corners = _Corners(config.width)

    def losses(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Cross-entropies of place, corners, visibility and faces; the distance of the box."""
        pictures = floats(batch.pictures)
        losses = _locator_losses(self.locator(_shrunk(pictures)), batch)
        there = batch.present.nonzero()[:, 0].repeat(VIEWS)
        if len(there) == 0:
            return losses
        regions = _jittered(_regions(batch.boxes[there]), generator)
        output = self.corners(_cut_out(pictures[there], regions))
        return {**losses, **_corner_losses(output, batch, there, regions)}

    @torch.no_grad()
    def detect(self, pictures: Tensor) -> list[Detection | None]:
        """The cube in each picture of uint8 [B, H, W, 3], None where it sees none."""
        whole = floats(pictures)
        scores, boxes = _best_box(self.locator(_shrunk(whole)))
        regions = _regions(boxes)
        output = self.corners(_cut_out(whole, regions))
        shown = 1 - output.faces.softmax(1)[:, 0].mean(dim=(1, 2))
        found = (scores > MIN_SCORE) & (shown > LEAST_SHOWN)
        return [
            _detection(float(scores[i]), regions[i], output.row(i)) if found[i] else None
            for i in range(len(pictures))
        ]


@dataclass(frozen=True)
class _CornerOutput:
    """Logits: heat [B, 8, S, S]; faces [B, 7, S, S], no cube first; visible [B, 8]."""

    heat: Tensor
    faces: Tensor
    visible: Tensor

    def row(self, index: int) -> _CornerOutput:
        """What it says of one picture."""
        return _CornerOutput(self.heat[index], self.faces[index], self.visible[index])


def _block(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(
        inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class _Locator(nn.Module):
    """[B, 3, 60, 80] -> per cell of 15 x 20: logit, offset (x, y), log of the box's size (x, y)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _block(3, 16, 2),
            _block(16, 24),
            _block(24, 40, 2),
            _block(40, 40, dilation=2),
            _block(40, 40, dilation=4),
            _block(40, 40),
        )
        self.head = nn.Conv2d(40, 5, 1)
        self.nowhere = nn.Parameter(torch.zeros(1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, cells + 1], the last one for no cube; numbers [B, cells, 4]."""
        cells = self.head(self.body(pictures)).flatten(2)
        nowhere = self.nowhere.expand(len(cells), 1)
        return torch.cat([cells[:, 0], nowhere], dim=1), cells[:, 1:].transpose(1, 2)


class _Corners(nn.Module):
    """[B, 3, REGION, REGION] -> which face each place shows, and heat maps of the corners.

    What a place shows is said first and given on: where corners are follows from faces, whatever
    the light is.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        fine, middle, coarse = width, 2 * width, 3 * width
        self.stem = nn.Sequential(_block(3, 3 * fine // 4, 2), _block(3 * fine // 4, fine))
        self.faces = nn.Conv2d(fine, NUM_SHOWN, 1)
        self.join0 = _block(fine + NUM_SHOWN, fine)
        self.down1 = nn.Sequential(_block(fine, middle, 2), _block(middle, middle))
        self.down2 = nn.Sequential(
            _block(middle, coarse, 2), _block(coarse, coarse), _block(coarse, coarse)
        )
        self.up1, self.join1 = nn.Conv2d(coarse, middle, 1), _block(middle, middle)
        self.up2, self.join2 = nn.Conv2d(middle, fine, 1), _block(fine, fine)
        self.head = nn.Conv2d(fine, NUM_CORNERS, 1)
        self.visibility = nn.Conv2d(middle, NUM_CORNERS, 1)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, cut: Tensor) -> _CornerOutput:
        """What it says of each cut-out."""
        fine = self.stem(cut)
        faces = self.faces(fine)
        fine = self.join0(torch.cat([fine, faces.softmax(1)], dim=1))
        middle = self.down1(fine)
        coarse = self.down2(middle)
        middle = self.join1(middle + _doubled(self.up1(coarse)))
        fine = self.join2(fine + _doubled(self.up2(middle)))
        heat = HEAT_GAIN * self.head(fine)
        # A corner is visible if what is seen where it is says so.
        where = F.avg_pool2d(_probabilities(heat).detach(), 2) * 4
        visible = (where * self.visibility(middle)).sum(dim=(2, 3))
        return _CornerOutput(heat, faces, visible)


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2.0, mode="nearest")


def _shrunk(pictures: Tensor) -> Tensor:
    return F.avg_pool2d(pictures, SHRINK)


def _probabilities(heat: Tensor) -> Tensor:
    """Logits [..., S, S] -> probabilities that sum to 1 over each map."""
    return heat.flatten(-2).softmax(-1).view_as(heat)


def _locator_losses(output: tuple[Tensor, Tensor], batch: Batch) -> dict[str, Tensor]:
    logits, numbers = output
    cells, targets = _cell_targets(batch)
    nowhere = torch.full_like(cells, logits.shape[1] - 1)
    place = F.cross_entropy(logits, torch.where(batch.present, cells, nowhere))
    found = numbers[torch.arange(len(cells), device=cells.device), cells]
    off = F.smooth_l1_loss(found, targets, beta=0.1, reduction="none").sum(1)
    box = (off * batch.present).sum() / batch.present.sum().clamp(min=1)
    return {"place": place, "box": box}


def _cell_targets(batch: Batch) -> tuple[Tensor, Tensor]:
    """The cell [B] that holds the middle of each box, and its offset and log size [B, 4]."""
    low, high = batch.boxes.split(2, dim=1)
    across, down = WIDTH // CELL, HEIGHT // CELL
    middle = (low + high) / 2 / CELL
    corner = middle.floor().clamp(min=0)
    x, y = corner[:, 0].clamp(max=across - 1), corner[:, 1].clamp(max=down - 1)
    offset = middle - torch.stack([x, y], dim=1)
    size = ((high - low).clamp(min=1) / (2 * CELL)).log()
    return (y * across + x).long(), torch.cat([offset.clamp(-2, 3), size], dim=1)


def _best_box(output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """How likely there is a cube [B], and the box [B, 4] of the likeliest cell."""
    logits, numbers = output
    probabilities = logits.softmax(1)
    score = 1 - probabilities[:, -1]
    cell = probabilities[:, :-1].argmax(1)
    found = numbers[torch.arange(len(cell), device=cell.device), cell]
    across = WIDTH // CELL
    corner = torch.stack([cell % across, cell // across], dim=1)
    middle = (corner + found[:, :2]) * CELL
    half = found[:, 2:].clamp(-4, 3).exp() * CELL
    return score, torch.cat([middle - half, middle + half], dim=1)


def _regions(boxes: Tensor) -> Tensor:
    """Square regions [B, 4] around boxes: middle x, y, side (pixels), and angle, which is 0."""
    low, high = boxes.split(2, dim=1)
    side = MARGIN * (high - low).amax(dim=1, keepdim=True).clamp(min=8)
    return torch.cat([(low + high) / 2, side, torch.zeros_like(side)], dim=1)


def _jittered(regions: Tensor, generator: torch.Generator) -> Tensor:
    """Regions off by what the first network may be off by, and turned: cameras may be rolled."""
    draw = torch.rand(regions.shape, generator=generator).to(regions) * 2 - 1
    side = regions[:, 2:3]
    middle = regions[:, :2] + MOVED * side * draw[:, :2]
    return torch.cat([middle, side * (1 + SCALED * draw[:, 2:3]), TURNED_RAD * draw[:, 3:]], dim=1)


def _cut_out(pictures: Tensor, regions: Tensor) -> Tensor:
    """The regions of pictures [B, 3, H, W], brought to [B, 3, REGION, REGION]."""
    height, width = pictures.shape[2:]
    steps = (torch.arange(REGION, device=regions.device) + 0.5) / REGION - 0.5
    across, down = steps.expand(REGION, REGION), steps[:, None].expand(REGION, REGION)
    points = torch.stack([across, down], dim=-1).flatten(0, 1)
    points = (points @ _turns(regions).transpose(1, 2)) * regions[:, None, 2:3]
    points = points + regions[:, None, :2]
    # grid_sample counts from -1 to 1 between the outer edges of the outer pixels.
    grid = (2 * points + 1) / points.new_tensor([width, height]) - 1
    return F.grid_sample(pictures, grid.view(-1, REGION, REGION, 2), align_corners=False)


def _to_cells(points: Tensor, regions: Tensor) -> Tensor:
    """Pixels [B, N, 2] of pictures in cells of the regions' heat maps."""
    upright = ((points - regions[:, None, :2]) / regions[:, None, 2:3]) @ _turns(regions)
    return (upright + 0.5) * (REGION // STRIDE) - 0.5


def _turns(regions: Tensor) -> Tensor:
    """How regions are turned, as rotations [B, 2, 2]."""
    cos, sin = regions[:, 3].cos(), regions[:, 3].sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], dim=1)


def _corner_losses(
    output: _CornerOutput, batch: Batch, there: Tensor, regions: Tensor
) -> dict[str, Tensor]:
    cells = output.heat.shape[-1]
    corners = _to_cells(batch.corners[there], regions)
    known = ((corners > -0.5) & (corners < cells - 0.5)).all(dim=2).float()
    logs = output.heat.flatten(2).log_softmax(2)
    heat = -(_gaussians(corners, cells).flatten(2) * logs).sum(2)
    seen = batch.visible[there].float()
    masks = F.avg_pool2d(_cut_out(batch.masks[there, None].float(), regions), STRIDE)[:, 0]
    return {
        "heat": (heat * known).sum() / known.sum().clamp(min=1),
        "visible": F.binary_cross_entropy_with_logits(output.visible, seen),
        "faces": F.cross_entropy(output.faces, _shown(corners, masks > 0.5)),
    }


def _shown(corners: Tensor, mask: Tensor) -> Tensor:
    """What each cell shows, [B, S, S]: 0 for anything else, or 1 plus the face of the cube.

    Args:
        corners: [B, 8, 2], cells.
        mask: bool [B, S, S], where the cube is seen.
    """
    at = torch.arange(mask.shape[-1], device=corners.device, dtype=corners.dtype)
    points = torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1)
    around = corners[:, torch.from_numpy(FACE_CORNERS).to(corners.device)]
    edges = around.roll(-1, dims=2) - around
    x, y = edges[..., 0, None, None], edges[..., 1, None, None]
    off = points - around[:, :, :, None, None]
    # Pictures have y downwards: a face that looks here has its corners in the clock's sense.
    inside = (x * off[..., 1] - y * off[..., 0] < 0).all(dim=2) & mask[:, None]
    return torch.where(inside.any(dim=1), inside.int().argmax(dim=1) + 1, 0)


def _gaussians(points: Tensor, cells: int) -> Tensor:
    """Target maps [B, N, cells, cells] that sum to 1, around points [B, N, 2]."""
    at = torch.arange(cells, device=points.device, dtype=points.dtype)
    x = (-0.5 * ((at - points[..., :1]) / TARGET_CELLS) ** 2).softmax(-1)
    y = (-0.5 * ((at - points[..., 1:]) / TARGET_CELLS) ** 2).softmax(-1)
    return y[..., :, None] * x[..., None, :]


def _detection(score: float, region: Tensor, output: _CornerOutput) -> Detection:
    """What was found in one region, in the picture's pixels."""
    peaks, weights = _peaks(_numpy(_probabilities(output.heat)))
    middle, side = _numpy(region[:2]), float(region[2])
    cell_px = side * STRIDE / REGION
    places = ((peaks + 0.5) * STRIDE / REGION - 0.5) * side + middle
    faces = output.faces.softmax(0)
    left, top = middle + 0.5 - side / 2
    half = side / MARGIN / 2
    return Detection(
        score,
        np.concatenate([middle - half, middle + half]),
        places,
        SPREAD_CELLS * cell_px / np.sqrt(np.maximum(weights, LEAST_WEIGHT)),
        weights,
        _numpy(output.visible.sigmoid()),
        _pasted(1 - faces[0], region),
        FaceMap(_numpy(faces), float(left), float(top), cell_px),
    )


def _peaks(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest peaks of maps [8, S, S] that sum to 1: places [8, K, 2], in cells, and weights.

    A peak's weight is what the cells around it hold.
    """
    count, cells = len(maps), maps.shape[-1]
    padded = np.pad(maps, ((0, 0), (AROUND, AROUND), (AROUND, AROUND)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * [2 * AROUND + 1], axis=(1, 2))
    is_peak = maps == windows.max(axis=(-1, -2))
    order = np.argsort(-(maps * is_peak).reshape(count, -1), axis=1)[:, :NUM_PEAKS]
    y, x = np.divmod(order, cells)
    each = windows[np.arange(count)[:, None], y, x]
    weights = each.sum(axis=(-1, -2))
    x = x + _summit(each[..., AROUND, AROUND - 1 : AROUND + 2])
    y = y + _summit(each[..., AROUND - 1 : AROUND + 2, AROUND])
    real = np.take_along_axis(is_peak.reshape(count, -1), order, axis=1)
    weights = np.where(real & (weights > LEAST_WEIGHT), weights, 0.0)
    weights[:, 0] = np.maximum(weights[:, 0], LEAST_WEIGHT)
    return np.stack([x, y], axis=-1), np.minimum(weights, 1.0)


def _summit(three: np.ndarray) -> np.ndarray:
    """Where a bell through three neighbours [..., 3] is highest, in cells from the middle one.

    The mean of a peak would lean to where its flanks are flatter: along edges, into the cube.
    """
    return parabola_top(*np.moveaxis(np.log(np.maximum(three, 1e-12)), -1, 0))


def _pasted(mask: Tensor, region: Tensor) -> np.ndarray:
    """A region's mask [S, S] as bool [HEIGHT, WIDTH]."""
    x = torch.arange(WIDTH, device=mask.device), torch.arange(HEIGHT, device=mask.device)
    u, v = (2 * (axis - region[i]) / region[2] for i, axis in enumerate(x))
    grid = torch.stack([u.expand(HEIGHT, WIDTH), v[:, None].expand(HEIGHT, WIDTH)], dim=-1)
    whole = F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
    return (whole > 0.5).cpu().numpy()


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
