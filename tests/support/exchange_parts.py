"""Parts of an exchange: a checkpoint without networks, a folder of a run, lines that were said."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.robot.exchange.claiming import Claim

SPEC = DataSpec({STATE_KEY: (3,)}, 2, (-1.0, -1.0), (1.0, 1.0), 20.0)
CHUNK = ChunkSpec(4, 3, 1, 2)
FILES = (
    "MANIFEST.json",
    "algorithm/critic.safetensors",
    "algorithm/value_support.json",
    "pretrained_model/config.json",
    "pretrained_model/model.safetensors",
)
NOT_TO_ACT = ("training_state/position.json", "algorithm/target_critic.safetensors")


def toy_checkpoint(checkpoints: Path, update: int, seed: int = 0) -> Path:
    """A folder with the files of a checkpoint, of random bytes: who copies them does not read."""
    folder = checkpoints / f"3_online_rl_{update:08d}"
    rng = np.random.default_rng([update, seed])
    for name in (*FILES, *NOT_TO_ACT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(rng.bytes(int(rng.integers(1, 3000))))
    return folder


def toy_claim(folder: Path, exchange: str = "exchange", run: str = "run") -> Claim:
    """A run's exchange, made."""
    (folder / run).mkdir(exist_ok=True)
    claim = Claim(folder / run, folder / exchange, SPEC, CHUNK)
    claim.require()
    return claim


def recorded(seed: int, length: int = 6, **metadata: object) -> Episode:
    """An episode of `SPEC`."""
    rng = np.random.default_rng(seed)
    return Episode(
        {STATE_KEY: rng.normal(size=(length + 1, 3)).astype(np.float32)},
        rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        np.zeros(length, np.float32),
        terminated=False,
        truncated=True,
        success=False,
        metadata={"seed": seed, **metadata},
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of a few kilobytes; tests skip where none may be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "softflow-test", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(disk: Path) -> Path:
    """A file that takes all the room that is left."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return filler
