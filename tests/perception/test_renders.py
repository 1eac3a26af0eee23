"""A folder of renders: gone on with, equal, and clear about damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from softflow.errors import ConfigError, DataError, StoreError
from softflow.perception.cube_model import CubeModel, read_cube
from softflow.perception.rendering import RenderPlan, render_folder
from softflow.perception.renders import Renders
from softflow.perception.scene.backgrounds import FolderBackgrounds, ProceduralBackgrounds
from softflow.utils.png import png_bytes
from softflow.utils.progress import SilentProgress


def test_what_is_written_is_read(renders_folder: Path) -> None:
    renders = Renders(renders_folder)
    assert len(renders) == 12
    assert renders.record.cube == CubeModel()
    render = renders[3]
    assert render.picture.shape == (240, 320, 3)
    expected = render.camera.project(render.labels.pose.apply(CubeModel().corners_m))
    if render.labels.present:
        np.testing.assert_allclose(render.labels.corners, expected)


def test_a_folder_is_gone_on_with(renders_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(renders_folder, tmp_path / "copy")
    assert render_folder(RenderPlan(12, hand="capsules"), folder, SilentProgress()) == 0
    before = Renders(folder)[11].picture
    (folder / "part-00000.npz").unlink()
    assert render_folder(RenderPlan(12, hand="capsules"), folder, SilentProgress()) == 12
    np.testing.assert_array_equal(Renders(folder)[11].picture, before)


def test_other_options_need_another_folder(renders_folder: Path) -> None:
    with pytest.raises(DataError, match="made with other settings"):
        render_folder(RenderPlan(12, seed=1, hand="capsules"), renders_folder, SilentProgress())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY"])
def test_damaged_parts_are_named(renders_folder: Path, tmp_path: Path, content: bytes) -> None:
    folder = shutil.copytree(renders_folder, tmp_path / "copy")
    (folder / "part-00000.npz").write_bytes(content)
    with pytest.raises(StoreError, match=r"part-00000\.npz' is damaged.*run the same"):
        Renders(folder)


def test_an_empty_folder_and_none_at_all(renders_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"renders\.json"):
        Renders(tmp_path)
    shutil.copy(renders_folder / "renders.json", tmp_path)
    with pytest.raises(StoreError, match="no renders yet"):
        Renders(tmp_path)


def test_backgrounds_of_a_folder(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match="no folder of backgrounds"):
        FolderBackgrounds(tmp_path / "absent")
    with pytest.raises(ConfigError, match="holds no picture"):
        FolderBackgrounds(tmp_path)
    wall = np.full((40, 50, 3), (200, 30, 90), np.uint8)
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "wall.png").write_bytes(png_bytes(wall))
    drawn = FolderBackgrounds(tmp_path).draw(rng, 240, 320)
    assert drawn.shape == (240, 320, 3)
    assert (drawn == (200, 30, 90)).all()
    (tmp_path / "inside" / "wall.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"wall\.png.*no PNG"):
        FolderBackgrounds(tmp_path).draw(rng, 240, 320)


def test_made_up_backgrounds_differ(rng: np.random.Generator) -> None:
    pictures = [ProceduralBackgrounds().draw(rng, 60, 80) for _ in range(6)]
    assert len({picture.tobytes() for picture in pictures}) == 6


def test_a_cube_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "cube.toml"
    colours = "[[1,0,0],[0,1,0],[0,0,1],[1,1,0],[1,0,1],[0.9,0.9,0.9]]"
    file.write_text(f"side_m = 0.05\nface_colours = {colours}\n")
    assert read_cube(file).side_m == 0.05
    file.write_text(f"side_m = 0.05\nface_colours = {colours.replace('[0,1,0]', '[1,0,0]')}\n")
    with pytest.raises(ConfigError, match=r"\+x and -x have one colour"):
        read_cube(file)
    file.write_text("sides = 0.05\nside_m = 5.0\n")
    with pytest.raises(ConfigError, match=r"side_m is 5"):
        read_cube(file)
