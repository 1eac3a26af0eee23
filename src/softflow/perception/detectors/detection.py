"""What a detector says of a picture, and what a network must do to be one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from softflow.errors import DataError
from softflow.perception.packages import load_cv2
from softflow.perception.pose.search import FaceMap
from softflow.perception.renders import Render

HEIGHT, WIDTH = 240, 320
"""What networks see (App. B2); other pictures are brought to it whole, with black bars."""


@dataclass(frozen=True)
class Detection:
    """A cube in a picture.

    Attributes:
        score: how sure it is that there is one, 0 to 1.
        box: float64 [4]: left, top, right, bottom of all eight corners, pixels.
        places: float64 [8, K, 2], where each corner may be, the likeliest first, in pixels; the
            first pixel's centre is (0, 0).
        spread_px: float64 [8, K], standard deviation of each place as the network sees it.
        weights: float64 [8, K], how likely each place is, 0 to 1; 0 for none.
        visible: float64 [8], how sure it is that a corner is seen, 0 to 1.
        mask: bool [H, W], where the cube is seen.
        faces: what places show, if the network says so.
    """

    score: float
    box: np.ndarray
    places: np.ndarray
    spread_px: np.ndarray
    weights: np.ndarray
    visible: np.ndarray
    mask: np.ndarray
    faces: FaceMap | None = None

    @property
    def size_px(self) -> float:
        """The longer side of the box."""
        return float((self.box[2:] - self.box[:2]).max())

    @property
    def corners(self) -> np.ndarray:
        """float64 [8, 2]: the likeliest place of each corner."""
        return self.places[:, 0]


@dataclass(frozen=True)
class Batch:
    """Training pictures, on the networks' device.

    Attributes:
        pictures: uint8 [B, H, W, 3].
        corners: float32 [B, 8, 2], pixels.
        visible: bool [B, 8].
        masks: bool [B, H, W].
        present: bool [B]; the rest means nothing where there is no cube.
    """

    pictures: Tensor
    corners: Tensor
    visible: Tensor
    masks: Tensor
    present: Tensor

    @property
    def boxes(self) -> Tensor:
        """float32 [B, 4]: left, top, right, bottom of all eight corners."""
        return torch.cat([self.corners.amin(1), self.corners.amax(1)], dim=1)


def batch_of(renders: Sequence[Render], device: torch.device) -> Batch:
    """Pictures and labels as tensors on a device."""
    labels = [render.labels for render in renders]
    arrays = (
        np.stack([render.picture for render in renders]),
        np.stack([one.corners for one in labels]).astype(np.float32),
        np.stack([one.visible for one in labels]),
        np.stack([one.mask for one in labels]),
        np.array([one.present for one in labels]),
    )
    return Batch(*(torch.from_numpy(array).to(device) for array in arrays))


class CornerNetwork(nn.Module, ABC):
    """A network that finds the cube's box, mask and corners in pictures of `HEIGHT` x `WIDTH`."""

    @abstractmethod
    def losses(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """What training lowers the sum of: a number for each part."""

    @abstractmethod
    def detect(self, pictures: Tensor) -> list[Detection | None]:
        """The cube in each picture of uint8 [B, H, W, 3], None where it sees none."""


def floats(pictures: Tensor) -> Tensor:
    """Pictures uint8 [B, H, W, 3] as float32 [B, 3, H, W] in -1 to 1."""
    return pictures.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0


@torch.no_grad()
def find_cube(network: CornerNetwork, picture: np.ndarray) -> Detection | None:
    """The cube in one picture of any size, in its own pixels.

    Args:
        network: in evaluation mode.
        picture: uint8 [height, width, 3], RGB.

    Raises:
        DataError: the picture is no such array.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise DataError(
            f"a picture is {picture.dtype} {picture.shape}; give uint8 [height, width, 3], RGB"
        )
    small, scale = _fitted(picture)
    device = next(network.parameters()).device
    found = network.detect(torch.from_numpy(small)[None].to(device))[0]
    if found is None or scale == 1.0:
        return found
    return _in_pixels_of(picture, found, scale)


def _fitted(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """A picture scaled to fit into what networks see, at its top left, and by how much."""
    height, width = picture.shape[:2]
    if (height, width) == (HEIGHT, WIDTH):
        return picture, 1.0
    cv2, scale = load_cv2(), min(HEIGHT / height, WIDTH / width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    small[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=kind)
    return small, scale


def _in_pixels_of(picture: np.ndarray, found: Detection, scale: float) -> Detection:
    cv2 = load_cv2()
    height, width = picture.shape[:2]
    mask = found.mask[: max(round(height * scale), 1), : max(round(width * scale), 1)]
    mask = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    places, box = ((p + 0.5) / scale - 0.5 for p in (found.places, found.box))
    faces = found.faces
    if faces is not None:
        left, top, cell_px = (n / scale for n in (faces.left, faces.top, faces.cell_px))
        faces = FaceMap(faces.probabilities, left, top, cell_px)
    return replace(
        found, faces=faces, box=box, places=places, spread_px=found.spread_px / scale, mask=mask
    )
