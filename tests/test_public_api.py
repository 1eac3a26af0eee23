"""`import softflow` costs nothing, and a base installation does what it can."""

from __future__ import annotations

import subprocess
import sys

import pytest

import softflow
from softflow.errors import MissingPackageError, with_extra

BARE = """
import sys

class NotInstalled:
    NAMES = ("torch", "torchvision", "h5py", "gymnasium", "safetensors", "jaxtyping", "dacite")

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
"""


def said_by(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def test_importing_it_imports_no_torch_and_every_name_is_there() -> None:
    program = "import sys, softflow; print([m for m in ('torch', 'zarr') if m in sys.modules])"
    assert said_by(program) == "[]\n"
    assert set(softflow.__all__) <= set(dir(softflow))
    assert sorted(softflow.__all__) == sorted(softflow._HOMES)
    for name in softflow.__all__:
        assert getattr(softflow, name).__module__ == softflow._HOMES[name]
    with pytest.raises(AttributeError, match="has no attribute 'load_polixy'"):
        softflow.load_polixy  # noqa: B018


@pytest.mark.slow
def test_a_base_installation_keeps_episodes_and_names_the_missing_extra() -> None:
    program = """
import pathlib, tempfile, numpy, softflow
spec = softflow.DataSpec({"observation.state": (1,)}, 1, (-1,), (1,), 10.0)
zeros = lambda *shape: numpy.zeros(shape, "float32")
episode = softflow.Episode(
    {"observation.state": zeros(3, 1)}, zeros(2, 1), zeros(2), False, True, success=False
)
path = pathlib.Path(tempfile.mkdtemp()) / "s"
with softflow.EpisodeStore.create(path, spec) as store:
    store.append(episode)
    print(len(store), "kept")
for name in ("load_policy", "train", "check_env"):
    try:
        getattr(softflow, name)
    except ImportError as error:
        print(error)
from softflow.cli.main import main
print(main(["train", "small"]), main(["data", "inspect", str(path)]))
"""
    said = said_by(BARE + program)
    assert said.startswith("1 kept\n")
    for what in ("softflow.load_policy", "softflow.train", "softflow.check_env", "this command"):
        [line] = [line for line in said.splitlines() if f"{what} needs" in line]
        assert line.endswith("which is not installed: pip install 'softflow[train]'")
    assert "2 0" in said


def test_other_missing_modules_stay_what_they_are() -> None:
    theirs = ModuleNotFoundError("No module named 'my_robot'", name="my_robot")
    assert with_extra(theirs, "softflow.train") is theirs
    ours = with_extra(ModuleNotFoundError("", name="h5py.h5"), "this format")
    assert isinstance(ours, MissingPackageError)
    assert str(ours).endswith("pip install 'softflow[formats]'")
