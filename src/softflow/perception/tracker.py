"""Picture after picture to the cube's pose: detector, PnP, colours, edges, filter (App. B2).

Poses that are not sure enough never reach the filter: it survives a picture without one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softflow.errors import ConfigError
from softflow.perception.camera import Calibration
from softflow.perception.detectors.checkpoints import Detector
from softflow.perception.detectors.detection import Detection, find_cube
from softflow.perception.geometry import Pose
from softflow.perception.pose.confidence import SURE, pose_confidence, require_confidence
from softflow.perception.pose.edges import refine_by_edges
from softflow.perception.pose.filter import FilterConfig, FilteredPose, PoseFilter
from softflow.perception.pose.pnp import PoseFit, fit_pose
from softflow.perception.pose.symmetry import resolve_symmetry


@dataclass(frozen=True)
class Seen:
    """What one picture says by itself.

    Attributes:
        detection: the cube in it, None if the detector sees none.
        fit: what PnP makes of the corners, None if they tell no pose.
        pose: the cube's pose in the camera's frame, colours and edges taken into account; None
            without a fit.
        covariance: float64 [6, 6] of that pose: position (m), rotation (rad, camera's axes).
        confidence: how likely that pose is within 10 mm and 15 degrees, 0 to 1; 0 without one.
    """

    detection: Detection | None
    fit: PoseFit | None
    pose: Pose | None
    covariance: np.ndarray | None = None
    confidence: float = 0.0


@dataclass(frozen=True)
class Tracked:
    """What is known at the moment of a picture.

    Attributes:
        time_s: of the picture.
        seen: what it says by itself.
        believed: whether its pose is sure enough for the filter.
        filtered: what all pictures so far say; None while no cube is known.
    """

    time_s: float
    seen: Seen
    believed: bool
    filtered: FilteredPose | None


def see(detector: Detector, camera: Calibration, picture: np.ndarray) -> Seen:
    """The cube's pose from one picture alone.

    Args:
        detector: finds the corners.
        camera: calibration, at the size of the picture.
        picture: uint8 [height, width, 3], RGB.

    Raises:
        DataError: it is no such array.
    """
    detection = find_cube(detector.network, picture)
    if detection is None:
        return Seen(None, None, None)
    d, cube = detection, detector.cube
    fit = fit_pose(d.places, d.spread_px, d.weights, d.size_px, camera, cube, d.faces)
    if fit is None:
        return Seen(detection, None, None)
    pose = resolve_symmetry(picture, detection.mask, fit.pose, camera, detector.cube)
    pose, covariance = refine_by_edges(pose, fit.covariance, picture, camera, detector.cube)
    sure = pose_confidence(pose, covariance, detection, camera, detector.cube)
    return Seen(detection, fit, pose, covariance, sure)


class CubeTracker:
    """Follows the cube of one camera.

    Args:
        detector: finds its corners.
        camera: calibration; pictures may be of its size or a multiple of it.
        config: of the filter.
        min_confidence: poses that are less sure count as not seen.

    Raises:
        ConfigError: it is none.
    """

    def __init__(
        self,
        detector: Detector,
        camera: Calibration,
        config: FilterConfig | None = None,
        min_confidence: float = SURE,
    ) -> None:
        self._least = require_confidence(min_confidence)
        self._detector, self._calibrated = detector, camera
        self._filter = PoseFilter(config)
        self.camera: Calibration | None = None

    @property
    def cube_side_m(self) -> float:
        """Of the cube that the detector knows."""
        return self._detector.cube.side_m

    def step(self, time_s: float, picture: np.ndarray) -> Tracked:
        """Take in the next picture, uint8 [height, width, 3], RGB.

        Raises:
            ConfigError: it is of another shape than the calibration, of another size than the one
                before, or comes before it.
            DataError: it is no picture.
        """
        height, width = picture.shape[:2]
        if self.camera is None:
            self.camera = self._calibrated.resized(width, height)
        if (self.camera.width, self.camera.height) != (width, height):
            raise ConfigError(
                f"a picture is {width} x {height}, those before it {self.camera.width} x "
                f"{self.camera.height}; give pictures of one camera and mode"
            )
        seen = see(self._detector, self.camera, picture)
        believed = seen.pose is not None and seen.confidence >= self._least
        measured = seen.pose if believed else None
        filtered = self._filter.step(time_s, measured, seen.covariance)
        return Tracked(time_s, seen, believed, filtered)
