"""The errors softflow raises on purpose: each message says what, where, the value and the fix."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence


class SoftflowError(Exception):
    """Base of every error that softflow raises on purpose."""


class DataError(SoftflowError):
    """Episodes or batches hold something a policy must not be trained on (NaN, wrong shape…)."""


class SeveralFaultsError(DataError):
    """Several things are wrong with one episode.

    Args:
        faults: what each of them is.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        more = len(faults) - 1
        super().__init__(f"{faults[0]}\nand {more} more of this episode (--check lists them)")


class StoreError(SoftflowError):
    """An episode store or file cannot be read or written (damaged, locked, disk full…)."""


class WriterBusyError(StoreError):
    """Somebody else writes to that store or run folder at the moment."""


class ConfigError(SoftflowError):
    """A configuration value, preset or name is not usable."""


class CheckpointError(SoftflowError):
    """A checkpoint is damaged, of a newer format, or made for other dimensions."""


class UntrustedImportError(ConfigError):
    """A file names a module, which would run code, and the user did not; says how to allow it."""


class EnvironmentContractError(SoftflowError):
    """An environment breaks the contract of `softflow.envs.contract`."""


class EnvironmentFaultError(SoftflowError):
    """An environment or robot raised an error of its own; nothing acts on it any more."""


class EpisodeLostError(EnvironmentFaultError):
    """A simulator's physics gave way: that episode counts nowhere, and another may be played."""


class PeerLostError(SoftflowError):
    """Another of the processes that train a run together has ended."""


class RobotStoppedError(SoftflowError):
    """A robot was stopped: by a person, a watchdog or its limits; says what to do next."""


class RobotBusyError(SoftflowError):
    """Another process holds the robot: there is only one."""


class NetworkContractError(SoftflowError):
    """A policy or critic breaks what `softflow.models.policy` or `critic` promise."""


class SeedsFailedError(SoftflowError):
    """Some seeds of a training failed; says why each did. The others are done."""


class ObservationError(SoftflowError):
    """An observation or action is not of the kind that the policy was trained on."""


class PolicyServerError(SoftflowError):
    """A policy server, or a client of one, does not answer, refuses, or says what nobody means."""


class EndpointError(SoftflowError):
    """A model's server does not answer, refuses, or says what cannot be meant."""


class NumericalError(SoftflowError):
    """A NaN or infinity appeared in training; the message names the dump to replay."""


class MissingPackageError(SoftflowError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


_EXTRAS = {
    "train": (
        "torch",
        "torchvision",
        "safetensors",
        "jaxtyping",
        "dacite",
        "gymnasium",
        "av",
        "PIL",
    ),
    "formats": ("h5py", "pyarrow", "rosbags", "yaml"),
    "images": ("timm",),
    "robot": ("websockets",),
    "label": ("fastapi", "starlette", "uvicorn"),
    "cube": ("orca_sim", "rsl_rl", "tensordict", "cv2"),
}
"""Extra of softflow -> modules that it brings."""


def with_extra(error: ModuleNotFoundError, what: str) -> ImportError:
    """The error of an import that failed, with the extra that would mend it, if one would.

    Args:
        error: names the module; what: needs it, such as "softflow.train".
    """
    module = (error.name or "").partition(".")[0]
    for extra, modules in _EXTRAS.items():
        if module in modules:
            return MissingPackageError(
                f"{what} needs {module}, which is not installed: pip install 'softflow[{extra}]'",
                name=error.name,
            )
    return error


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what lies behind it: closing what could not be opened raises again."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def raised_at(error: BaseException) -> str:
    """Where an error that was caught comes from: "FILE, line NUMBER"."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{place.filename}, line {place.lineno}"


def brief(error: BaseException, longest: int = 300) -> str:
    """What a library says of a file, in one printable line: it may quote all of the file."""
    try:
        said = str(error)
    except Exception:  # an error of others may not even be able to say what it is
        said = ""
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    line = "".join(letter if letter.isprintable() else " " for letter in text[: longest + 1])
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
