"""The command from a tiny folder of renders to poses, and what it says to bad input."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from pathlib import Path

import av
import numpy as np
import pytest

from softflow.cli.cube.pose import COMMANDS
from softflow.cli.main import main
from softflow.perception import running
from softflow.perception.camera import Calibration, pinhole
from softflow.perception.cube_model import CubeModel
from softflow.perception.detectors.detection import Detection
from softflow.perception.geometry import Pose, pose_errors, rotation_from_quat_wxyz
from softflow.perception.pose.filter import PoseFilter
from softflow.perception.rendered_film import render_film
from softflow.perception.rendering import RenderPlan
from softflow.perception.tracker import Seen, Tracked
from softflow.utils.png import png_bytes
from softflow.utils.progress import SilentProgress

CAMERA = "width = 320\nheight = 240\nfx = 235.0\nfy = 235.0\ncx = 159.5\ncy = 119.5\n"


@pytest.fixture(scope="module")
def run_folder(renders_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for two updates: it knows nothing, and is a detector all the same."""
    run = tmp_path_factory.mktemp("run") / "small"
    words = f"cube-pose train small --renders {renders_folder} --run {run} --updates 2"
    assert main([*words.split(), "--batch-size", "2", "--device", "cpu"]) == 0
    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        picture = np.full((480, 640, 3), 60 * i, np.uint8)
        (folder / f"{i:02d}.png").write_bytes(png_bytes(picture))
    return folder


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    (tmp_path / "camera.toml").write_text(CAMERA)
    return tmp_path / "camera.toml"


@pytest.fixture
def run_words(run_folder: Path, pictures: Path, camera: Path, tmp_path: Path) -> list[str]:
    """The command that follows the cube through the pictures, into `tmp_path / "out"`."""
    words = f"cube-pose run {run_folder} {pictures} --out {tmp_path / 'out'} --fps 10"
    return [*words.split(), "--calibration", str(camera)]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_explains_every_option(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cube-pose", "--help"]) == 0
    assert f"softflow cube-pose {command}" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["cube-pose", command, "--help"])
    shown = capsys.readouterr().out
    for option in fields(COMMANDS[command]):
        assert (
            option.name.replace("_", "-") in shown
            or option.name.upper() in shown
            or "PATH" in shown
        )


def test_evaluate_writes_table_numbers_and_page(
    run_folder: Path, renders_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"cube-pose evaluate {run_folder} --renders {renders_folder} --out {tmp_path}"
    assert main([*words.split(), "--min-confidence", "0.4"]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert sum(line["pictures"] for line in found["lines"][1:]) <= 12
    assert found["hz"] > 0
    assert found["min_confidence"] == 0.4
    said = capsys.readouterr().out
    assert "poses that are at least 0.4 sure:" in said
    assert said.count("corners seen") == 2
    assert main([*words.split(), "--min-confidence", "40"]) == 2
    assert "--min-confidence is 40" in capsys.readouterr().err
    assert "What fails" in (tmp_path / "evaluation.html").read_text()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_run_on_a_folder(run_words: list[str], tmp_path: Path, kind: str) -> None:
    """Pictures are twice the calibration's size; an untrained detector finds whatever it finds."""
    assert main([*run_words, "--format", kind]) == 0
    text = (tmp_path / "out" / f"poses.{kind}").read_text()
    lines = text.splitlines()
    rows = list(csv.DictReader(lines)) if kind == "csv" else [json.loads(line) for line in lines]
    assert [float(row["time_s"]) for row in rows] == [0.0, 0.1, 0.2]
    with av.open(tmp_path / "out" / "poses.mp4") as film:
        assert [(f.height, f.width) for f in film.decode(video=0)] == [(480, 640)] * 3


def test_a_confidence_that_is_none_is_refused(
    run_words: list[str], run_folder: Path, camera: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = f"cube-pose node {run_folder} --image /camera --calibration {camera}".split()
    for words in (run_words, node):
        assert main([*words, "--min-confidence", "7"]) == 2
        assert "--min-confidence is 7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"--calibration": ""}, "no calibration"),
        ({"--fps": ""}, "--fps"),
        ({"film": "absent.mp4"}, "no video or folder"),
        ({"camera": CAMERA.replace("320", "400")}, "calibration is for 400 x 240"),
        ({"film": "empty"}, "holds no picture"),
        ({"film": "text.mp4"}, "cannot be read as a video"),
    ],
)
def test_bad_input_is_told(
    run_folder: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    told: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "camera.toml").write_text(change.get("camera", CAMERA))
    film = tmp_path / change["film"] if "film" in change else pictures
    words = ["cube-pose", "run", str(run_folder), str(film), "--out", str(tmp_path / "out")]
    for option, value in {"--calibration": str(tmp_path / "camera.toml"), "--fps": "10"}.items():
        words += [option, value] if change.get(option, value) else []
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "poses.mp4").exists()


def test_pictures_of_another_size_in_between(
    run_words: list[str], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "01.png").write_bytes(png_bytes(np.zeros((240, 320, 3), np.uint8)))
    assert main(run_words) == 2
    assert "a picture is 320 x 240, those before it 640 x 480" in capsys.readouterr().err


def test_a_rendered_film_agrees_with_its_truth(renderer: object, tmp_path: Path) -> None:
    """Drawn into the film with its own calibration, the true pose's corners lie on the cube."""
    from softflow.perception.camera import read_calibration
    from softflow.perception.frames import frames_of

    render_film(RenderPlan(1, seed=3, hand="capsules"), 0.25, tmp_path, SilentProgress())
    camera = read_calibration(tmp_path / "camera.toml")
    film = frames_of(tmp_path / "film.mp4")
    truth = np.loadtxt(tmp_path / "truth.csv", delimiter=",", skiprows=1)
    assert (film.fps, film.count) == (20, 5)
    assert [time_s for time_s, _ in film.frames] == pytest.approx(list(truth[:, 0]))
    poses = [Pose(rotation_from_quat_wxyz(row[4:]), row[1:4]) for row in truth]
    assert pose_errors(poses[1], poses[0])[1] == pytest.approx(0.9 / 20, abs=1e-4)
    corners = camera.project(poses[0].apply(CubeModel().corners_m))
    assert ((corners > 0) & (corners < (320, 240))).all()


def test_rows_and_drawings_say_what_is_known() -> None:
    pose = Pose(np.eye(3), np.array([0.0, 0.0, 0.3]))
    corners = pinhole(320, 240, 54.0).project(pose.apply(CubeModel().corners_m))
    mask = np.zeros((240, 320), bool)
    each = np.ones((8, 1))
    detection = Detection(0.8, np.zeros(4), corners[:, None], each, each, np.ones(8), mask)
    poses = PoseFilter()
    known = Tracked(0.0, Seen(detection, None, pose), True, poses.step(0.0, pose))
    missed = Tracked(0.1, Seen(None, None, None), False, poses.step(0.1, None))
    row, gap = running.row_of(known), running.row_of(missed)
    assert tuple(row) == running.COLUMNS == tuple(gap)
    assert (row["score"], row["filtered_z_m"], row["accepted"]) == (0.8, 0.3, True)
    assert (gap["score"], gap["seen_x_m"], gap["accepted"]) == (None, None, None)
    assert gap["age_s"] == pytest.approx(0.1)
    picture = np.zeros((240, 320, 3), np.uint8)
    camera = Calibration(320, 240, 235.0, 235.0, 159.5, 119.5, (0.1, 0.0, 0.0, 0.0))
    drawn = running.annotated(picture, known, camera, 0.045)
    assert (drawn != picture).any()
    assert (picture == 0).all()
