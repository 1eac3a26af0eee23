"""Pictures of cameras in the report: those of the run alone, with words beside them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_run import Page, make_run, moving_block

from softflow.data.measures import Measured
from softflow.data.task_profile import Measure
from softflow.pages.camera_record import LARGEST_PICTURE_BYTES
from softflow.pages.html import tree_html
from softflow.pages.run_report import write_report
from softflow.utils.files import read_object, write_json
from softflow.utils.png import png_bytes
from softflow.utils.video import write_video

FRONT = "observation.images.front"
PICTURE = png_bytes(np.full((20, 30, 3), 90, np.uint8))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    return make_run(path, labels=["imitation", "offline_rl"], rollouts=0, videos=False)


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """After offline RL, a sheet of the policy and of the critic, and a film of a failure."""
    run = shutil.copytree(whole, tmp_path / "run")
    for network in ("policy", "critic"):
        (run / f"diagnostics/offline_rl.{network}.0.png").write_bytes(PICTURE)
    looks = [look(network="policy"), look(network="critic", file="offline_rl.critic.0.png")]
    tell(run, looks)
    write_video(run / "videos/cameras/offline_rl.failure.0.mp4", moving_block(32, 48, 5), 20.0)
    film = {"camera": FRONT, "file": "offline_rl.failure.0.mp4", "success": False}
    films = {"films": [film | {"length": 1234, "seed": 8}]}
    write_json(run / "videos/cameras/offline_rl.json", films)
    return run


def look(**changes: Any) -> dict[str, Any]:
    sheet = {"network": "policy", "camera": FRONT, "file": "offline_rl.policy.0.png"}
    return sheet | {"largest_change": 0.0312} | changes


def tell(run: Path, looks: list[dict[str, Any]]) -> None:
    file = run / "diagnostics/offline_rl.json"
    write_json(file, read_object(file) | {"saliency": looks})


def page_of(run: Path) -> Page:
    write_report(run)
    return Page.read(run)


def test_pictures_stand_beside_their_stage_with_words(run: Path) -> None:
    page = page_of(run)
    assert "Offline RL · policy · front" in page.text
    assert "moves the actions by 3.1 % of their range" in page.text
    assert "moves the value by 3.1 % of its range" in page.text
    assert [(i["alt"] or "")[:24] for i in page.all("img")] == ["front after Offline RL: "] * 2
    assert all((i["src"] or "").startswith("data:image/png;base64,") for i in page.all("img"))
    assert "Offline RL · front✗ failure, 1,234 steps · seed 8" in page.text
    assert [video["aria-label"] for video in page.all("video")] == [
        "What front saw after Offline RL: failure"
    ]


def test_a_task_that_counts_has_no_failures(run: Path) -> None:
    counted = Measured(Measure("count", "turned", "turns", "turns"), 3.0, 2.0, 4.0, 100).to_json()
    for file in (run / "evaluations").glob("*.json"):
        write_json(file, read_object(file) | {"measures": [counted]})
    page = page_of(run)
    assert "The first evaluation episode of each stage." in page.text
    assert "Offline RL · front1,234 steps · seed 8" in page.text
    assert [video["aria-label"] for video in page.all("video")] == [
        "What front saw after Offline RL"
    ]


@pytest.mark.parametrize(
    ("change", "shown"), [(0.0, "0 %"), (0.00042, "0.042 %"), (0.997, "100 %")]
)
def test_shares_are_said_in_two_digits(run: Path, change: float, shown: str) -> None:
    tell(run, [look(largest_change=change)])
    assert f"moves the actions by {shown} of their range" in page_of(run).text


def test_a_run_without_cameras_says_nothing_of_them(whole: Path) -> None:
    assert "Where it looks" not in page_of(whole).text


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", ".", "a/b.png"])
def test_a_path_that_leads_out_of_the_folder_is_not_followed(run: Path, name: str) -> None:
    (run.parent / "secret.png").write_bytes(PICTURE)
    tell(run, [look(file=name)])
    page = page_of(run)
    assert page.all("img") == []
    assert "offline_rl.json' cannot be used" in page.text


@pytest.mark.parametrize("fault", ["link", "no picture", "too large", "gone"])
def test_what_is_no_picture_of_the_run_is_told_and_left_out(run: Path, fault: str) -> None:
    file = run / "diagnostics/offline_rl.policy.0.png"
    file.unlink()
    if fault == "link":
        (run.parent / "secret.png").write_bytes(PICTURE)
        file.symlink_to(run.parent / "secret.png")
    elif fault == "no picture":
        file.write_bytes(b"<svg onload=alert(1)>")
    elif fault == "too large":
        file.write_bytes(PICTURE + bytes(LARGEST_PICTURE_BYTES))
    page = page_of(run)
    assert len(page.all("img")) == 1, "the critic's"
    assert "offline_rl.policy.0.png" in page.text


def test_a_camera_cannot_become_markup(run: Path) -> None:
    tell(run, [look(camera="\"'><script>alert(1)</script>")])
    page = page_of(run)
    assert page.all("script") == []
    assert "<script>alert(1)</script>" in page.text


def test_shapes_and_long_lists_of_the_configuration_are_short() -> None:
    tree = {
        "data_spec": {
            "observation_shapes": {FRONT: [84, 84, 3]},
            "names": {"observation.state": [f"joint_{number}" for number in range(400)]},
        },
        "model": {"encoder": {"image": {"resize": [224, 224]}, "states": ["a", "b"]}},
        "indices": [1, 2, 3],
    }
    html = tree_html("Configuration", tree)
    for shown in ("84 × 84 × 3", "224 × 224", "a, b", "1, 2, 3", "joint_7, … (400 values)"):
        assert f"{shown}</dd>" in html
    assert "joint_8" not in html
