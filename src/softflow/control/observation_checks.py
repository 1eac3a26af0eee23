"""Is what a robot reports what the policy was trained on? Told before anything acts on it."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from softflow.data.data_spec import DataSpec, is_image_key
from softflow.data.outside_range import LEAST_SLACK
from softflow.data.statistics import ArrayStatistics, DatasetStatistics
from softflow.errors import ObservationError


class ObservationChecks:
    """Holds observations and actions to what the data of a policy were.

    What cannot be right raises; what is merely far outside the training range is warned of once a
    component, or refused. Far is beyond the range by more than its own width.

    Args:
        spec: of the data.
        reads: the observation keys that the policy reads; others of the data may be left out.
        statistics: of the data.
        refuse_far: raise where values are far outside the training range, instead of a warning.
    """

    def __init__(
        self,
        spec: DataSpec,
        reads: Collection[str],
        statistics: DatasetStatistics,
        *,
        refuse_far: bool = False,
    ) -> None:
        self._spec, self._reads, self._refuse_far = spec, tuple(sorted(reads)), refuse_far
        self._statistics = {**statistics.observations, "action": statistics.action}
        self._bounds = {key: _bounds(item) for key, item in self._statistics.items()}
        self._told: set[str] = set()

    @property
    def reads(self) -> tuple[str, ...]:
        """Keys that the policy reads, sorted."""
        return self._reads

    def observation(self, observation: Any) -> dict[str, np.ndarray]:
        """Copies of what the policy reads of one observation.

        Args:
            observation: key -> value: floats of the shape in the data, cameras uint8 `[h, w, 3]`.

        Raises:
            ObservationError: a key is missing or unknown, or a value has another shape or type, is
                not finite, or far outside the training range and that is refused.
        """
        self._require_keys(observation)
        shapes = self._spec.observation_shapes
        return {key: self._checked(key, observation[key], shapes[key]) for key in self._reads}

    def history(self, observation: Any, length: int) -> dict[str, np.ndarray]:
        """What a decision sees, key -> `[length, ...]`, of one observation or of several.

        Args:
            observation: as in `observation`, or every value `[length, ...]`, oldest first; a
                single one counts as the first of an episode, which history repeats.
            length: observation steps that a decision sees.

        Raises:
            ObservationError: as `observation`.
        """
        self._require_keys(observation)
        shapes = self._spec.observation_shapes
        arrays = {key: _as_array(key, observation[key]) for key in self._reads}
        several = [array.ndim == len(shapes[key]) + 1 for key, array in arrays.items()]
        if all(several):
            return {
                key: self._checked(key, observation[key], (length, *shapes[key]))
                for key in self._reads
            }
        return {
            key: np.stack([value] * length) for key, value in self.observation(observation).items()
        }

    def actions(self, name: str, actions: Any, length: int) -> np.ndarray:
        """A copy of actions `[length, A]` in the robot's units.

        Raises:
            ObservationError: they have another shape, are not finite, or far outside the training
                range and that is refused.
        """
        array = _as_array(name, actions)
        expected = (length, self._spec.action_dim)
        if array.shape != expected:
            raise ObservationError(f"{name} has shape {array.shape}; give {expected}")
        result = _as_float(name, array)
        self._require_finite(name, result, "action")
        self._look_at_range(name, result, "action")
        return result

    def _require_keys(self, observation: Any) -> None:
        known = self._spec.observation_shapes
        if not isinstance(observation, Mapping):
            raise ObservationError(
                f"the observation is a {type(observation).__name__}; give "
                f"{_of_an_environment(observation)}a dictionary with the keys "
                f"{', '.join(self._reads)}"
            )
        given = [str(key) for key in observation]
        missing = [key for key in self._reads if key not in given]
        extra = [key for key in given if key not in known]
        if missing or extra:
            lines = [f"{key} is missing{_near(key, extra)}" for key in missing]
            lines += [f"{key} is not in the training data{_near(key, known)}" for key in extra]
            raise ObservationError(
                f"the observation has other keys than the policy reads: {'; '.join(lines)}. It "
                f"reads {', '.join(self._reads)}"
            )

    def _checked(self, key: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        array = _as_array(key, value)
        if array.shape != shape:
            raise ObservationError(_shape_problem(key, array, shape))
        if is_image_key(key):
            if array.dtype != np.uint8:
                raise ObservationError(
                    f"{key} is {array.dtype}; give uint8 pictures, 0 to 255, as in the training "
                    "data: floats in [0, 1] become (255 * picture).round().astype(numpy.uint8)"
                )
            picture = np.array(array)
            self._look_at_picture(key, picture)
            return picture
        result = _as_float(key, array)
        self._require_finite(key, result, key)
        self._look_at_range(key, result, key)
        return result

    def _require_finite(self, name: str, array: np.ndarray, key: str) -> None:
        if np.isfinite(array).all():
            return
        place = np.argwhere(~np.isfinite(array))[0]
        fix = "a policy cannot act on it: repair the sensor, or stop"
        if key == "action":
            fix = "an action is a finite number: correct what made it"
        raise ObservationError(
            f"{self._component(name, key, place)} is {array[tuple(place)]}; {fix}"
        )

    def _look_at_range(self, name: str, array: np.ndarray, key: str) -> None:
        statistics = self._statistics[key]
        low, high = self._bounds[key]
        far = (array < low) | (array > high)
        if not far.any():
            return
        found: dict[str, str] = {}
        for place in np.argwhere(far):
            which = tuple(place[array.ndim - low.ndim :])
            found[self._component(name, key, which)] = (
                f"is {array[tuple(place)]:.6g}, and lay in [{statistics.minimum[which]:.4g}, "
                f"{statistics.maximum[which]:.4g}] in the training data"
            )
        self._tell(found, "Are units (degrees, radians), order and offsets those of the data?")

    def _look_at_picture(self, key: str, picture: np.ndarray) -> None:
        if picture.max() <= 1:
            problem = "is black: of 255, its largest number is at most 1"
            fix = "Is the camera covered, or were floats in [0, 1] made uint8 without the 255?"
            self._tell({key: problem}, fix)

    def _tell(self, found: Mapping[str, str], fix: str) -> None:
        """Refuse, or warn of the components that are seen so for the first time."""
        if self._refuse_far:
            raise ObservationError(f"{_some(found)}. {fix}")
        new = {which: found[which] for which in found if which not in self._told}
        if new:
            self._told.update(new)
            warnings.warn(f"{_some(new)}. {fix} (Told once; it goes on.)", stacklevel=_caller())

    def _component(self, name: str, key: str, place: Iterable[int]) -> str:
        """A component by its number and, where it has one, its name."""
        index = [int(i) for i in place]
        names = self._spec.names.get(key, ())
        called = f" ({names[index[-1]]})" if names and index else ""
        return f"{name}[{', '.join(map(str, index))}]{called}" if index else name


def _caller() -> int:
    """The `stacklevel` of whoever called softflow; torch wraps some of its functions."""
    frame, level = inspect.currentframe(), 0  # 0: this function, which warns of nothing
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in ("softflow", "torch"):
        frame, level = frame.f_back, level + 1
    return level


def _bounds(statistics: ArrayStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of each component that is not far from the training data."""
    slack = np.maximum(statistics.maximum - statistics.minimum, LEAST_SLACK)
    return statistics.minimum - slack, statistics.maximum + slack


def _of_an_environment(observation: Any) -> str:
    """What to do with the whole answer of an environment; "" of anything else."""
    answers = {2: "two that reset()", 5: "five that step()"}
    is_answer = isinstance(observation, tuple) and len(observation) in answers
    if not is_answer or not isinstance(observation[0], Mapping):
        return ""
    return f"the first of the {answers[len(observation)]} returns, "


def _as_array(name: str, value: Any) -> np.ndarray:
    """numpy arrays, and what plainly is one: lists and tuples of numbers."""
    if np.ma.is_masked(value):
        raise ObservationError(
            f"{name} has masked numbers, which nobody measured; a policy cannot act on it: repair "
            "the sensor, or stop"
        )
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, list | tuple | float | np.number):
        try:
            return np.asarray(value)
        except ValueError as error:
            raise ObservationError(f"{name} is no array: {error}") from error
    raise ObservationError(
        f"{name} is a {type(value).__name__}; give a numpy array (of a tensor: .cpu().numpy())"
    )


def _as_float(name: str, array: np.ndarray) -> np.ndarray:
    """A float32 copy of float32 or float64."""
    if array.dtype not in (np.float32, np.float64):
        raise ObservationError(
            f"{name} is {array.dtype}; give float32 in the units of the training data (whole "
            "numbers are often ticks of an encoder; if they are right, .astype(numpy.float32))"
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told
        return np.array(array, np.float32)


def _some(found: Mapping[str, str], most: int = 3) -> str:
    lines = [f"{which} {problem}" for which, problem in found.items()]
    more = f"; and {len(lines) - most} more" if len(lines) > most else ""
    return "; ".join(lines[:most]) + more


def _near(key: str, among: Collection[str]) -> str:
    near = difflib.get_close_matches(key, among, 1)
    return f" ({near[0]} is there)" if near else ""


def _shape_problem(key: str, array: np.ndarray, shape: tuple[int, ...]) -> str:
    problem = f"{key} has shape {array.shape}, the training data {shape}"
    if is_image_key(key) and array.shape == (*shape[:-3], shape[-1], *shape[-3:-1]):
        return f"{problem}: its channels come first; give numpy.moveaxis(picture, -3, -1)"
    if array.shape == (1, *shape):
        return f"{problem}: give one observation, without an axis for a batch"
    if is_image_key(key) and array.ndim == 3 and array.shape[-1] == 3:
        return (
            f"{problem}: bring pictures to that size as the recording did; `softflow data import "
            "--image-size` did it with Pillow's Image.resize, bilinear, without cropping"
        )
    return f"{problem}; give that"
