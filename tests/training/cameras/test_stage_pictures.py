"""Where a network looks, against networks that look at a known place; films, against episodes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from filmed_world import CAMERA, SIDE, filmed_config, filmed_spec, write_filmed
from PIL import Image
from place_encoder import PLACE, PlaceConfig
from point_world import demonstration, tiny_config
from report_run import Page

from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.models.images.efficientnet_lite0 import EfficientNetLite0Config
from softflow.pages.run_report import write_report
from softflow.training.cameras import stage_pictures
from softflow.training.cameras.drawing import sheet, shrunk
from softflow.training.cameras.saliency import GRID, hidden, place_masks
from softflow.training.cameras.stage_pictures import draw_saliency, film_cameras
from softflow.training.config import DataConfig, StageName
from softflow.training.diagnostics import diagnose
from softflow.training.run import Run

OTHER = IMAGE_PREFIX + "side"
RunMaker = Callable[..., Run]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras in whose pictures everything changes all the time."""
    path = tmp_path_factory.mktemp("data") / "noisy"
    spec = filmed_spec()
    shapes = {**spec.observation_shapes, OTHER: (SIDE, SIDE, 3)}
    rng = np.random.default_rng(0)
    with EpisodeStore.create(path, replace(spec, observation_shapes=shapes)) as store:
        for seed in range(3):
            episode = demonstration(seed, towards_goal=True)
            size = (len(episode.observations[STATE_KEY]), SIDE, SIDE, 3)
            noise = {key: rng.integers(0, 256, size, dtype=np.uint8) for key in (CAMERA, OTHER)}
            store.append(replace(episode, observations=episode.observations | noise))
    return path


@pytest.fixture
def looking_run(make_run: RunMaker, noisy: Path) -> Run:
    """Policy and critic look at `PLACE` of `CAMERA`; their other weights are random."""
    config = tiny_config(eval_episodes=0)
    model = replace(config.model, encoder=PlaceConfig(16))
    run = make_run(replace(config, model=model), dataset=noisy)
    make_all_matter(run, "colour", 3)
    return run


@torch.no_grad()
def make_all_matter(run: Run, eye: str, std: float) -> None:
    """Random weights, but for frozen ones: behind the zeros of fresh heads nothing is seen.

    `eye`: the encoder's layer behind pixels or features, whose weights get this `std`.
    """
    torch.manual_seed(0)
    for network in (run.learner.policy, run.learner.critic):
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.3)
        network.encoder.observation.get_parameter(f"{eye}.weight").normal_(0, std)


def test_the_map_is_brightest_where_the_network_looks_and_dark_elsewhere(
    looking_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Places fade into their neighbours; beyond those, and on the other camera, nothing matters."""
    drawn: list[torch.Tensor] = []

    def kept(frames: torch.Tensor, maps: torch.Tensor, brightest: float) -> np.ndarray:
        drawn.append(maps)
        return sheet(frames, maps, brightest)

    monkeypatch.setattr(stage_pictures, "sheet", kept)
    (looking_run.folder / "diagnostics").mkdir()
    told = draw_saliency(looking_run, "offline_rl")
    assert [(t["network"], t["camera"]) for t in told] == [
        (network, camera) for network in ("policy", "critic") for camera in (OTHER, CAMERA)
    ]
    for entry, maps in zip(told, drawn, strict=True):
        assert entry["largest_change"] == pytest.approx(float(maps.max()))
        if entry["camera"] == OTHER:
            assert maps.abs().max() < 1e-6
            continue
        near = torch.zeros(GRID, GRID, dtype=torch.bool)
        near[PLACE[0] - 1 : PLACE[0] + 2, PLACE[1] - 1 : PLACE[1] + 2] = True
        for places in maps:
            assert divmod(int(places.argmax()), GRID) == PLACE
            assert places[~near].max() < 0.01 * places[PLACE]


def test_the_sheets_show_it(looking_run: Run) -> None:
    """Orange lies on the place; a camera that is ignored stays grey. The same again, always."""
    diagnose(looking_run, "imitation")
    folder = looking_run.folder / "diagnostics"
    told = json.loads((folder / "imitation.json").read_text())["saliency"]
    pictures: dict[str, np.ndarray] = {}
    for entry in told:
        payload = (folder / entry["file"]).read_bytes()
        with Image.open(io.BytesIO(payload)) as image:
            pictures[entry["camera"]] = np.asarray(image).astype(int)
    height = SIDE + 2
    heat = {key: p[height:, :, 0] - p[height:, :, 2] for key, p in pictures.items()}
    assert heat[OTHER].max() == 0
    row, column = divmod(int(heat[CAMERA].argmax()), heat[CAMERA].shape[1])
    found = (row * GRID // SIDE, column % (SIDE + 2) * GRID // SIDE)
    assert max(abs(found[0] - PLACE[0]), abs(found[1] - PLACE[1])) <= 1
    before = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    (folder / "imitation.json").unlink()
    torch.manual_seed(7)
    diagnose(looking_run, "imitation")
    assert {path.name: path.read_bytes() for path in folder.glob("*.png")} == before


@pytest.mark.parametrize(
    ("label", "networks"), [("imitation", ["policy"]), ("offline_rl", ["policy", "critic"])]
)
def test_frozen_encoders_are_tried_on_frames_where_updates_read_features(
    make_run: RunMaker, tmp_path: Path, label: StageName, networks: list[str]
) -> None:
    """The same maps and sheets with the cache as without it."""
    data = write_filmed(tmp_path / "filmed", [True, True, False])
    config, found = filmed_config(EfficientNetLite0Config(), eval_episodes=0), []
    for views, dtype in ((0, torch.uint8), (1, torch.float32)):
        changed = replace(config, data=DataConfig(cached_views=views))
        run = make_run(changed, folder=f"run_{views}", dataset=data)
        assert run.data.everything.gather(np.arange(1)).observation[CAMERA].dtype == dtype
        make_all_matter(run, "projections.0", 1)
        (run.folder / "diagnostics").mkdir()
        told = draw_saliency(run, label)
        assert told[0]["largest_change"] > 1e-3, "it looks"
        assert [entry["network"] for entry in told] == networks
        found.append((told, [(run.folder / "diagnostics" / t["file"]).read_bytes() for t in told]))
        assert run.data.everything.gather(np.arange(1)).observation[CAMERA].dtype == dtype
    assert found[0] == found[1]


def test_places_share_a_frame_and_hide_the_average() -> None:
    average = torch.full((33, 20, 3), 50.0)
    masks = place_masks(average)
    torch.testing.assert_close(masks.sum(dim=0), torch.ones(33, 20))
    frames = torch.randint(0, 256, (2, 33, 20, 3), dtype=torch.uint8)
    whole = hidden(frames, average, torch.stack([torch.ones(33, 20), torch.zeros(33, 20)]))
    assert (whole[0] == 50).all()
    assert torch.equal(whole[1], frames)


def test_large_frames_are_shrunk_and_small_ones_kept() -> None:
    small = torch.randint(0, 256, (2, 20, 31, 3), dtype=torch.uint8)
    assert shrunk(small, 128) is small
    large = torch.full((1, 480, 640, 3), 7, dtype=torch.uint8)
    assert shrunk(large, 128).shape == (1, 96, 128, 3)
    assert (shrunk(large, 128) == 7).all()


@pytest.mark.slow
def test_films_are_what_the_cameras_saw(
    make_run: RunMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first success and the first failure of an evaluation, in real time; also on the page."""
    monkeypatch.setattr(stage_pictures, "FILM_FRAMES", 10)
    data = write_filmed(tmp_path / "filmed", [True, True, False])
    run = make_run(filmed_config(eval_episodes=0), dataset=data)
    run.position.enter("imitation")
    run.evaluate("imitation", "imitation", 12)
    diagnose(run, "imitation")
    folder = run.folder / "videos/cameras"
    films = json.loads((folder / "imitation.json").read_text())["films"]
    store = EpisodeStore.open(run.folder / "evaluations/imitation")
    outcomes = [summary.success for summary in store.summaries()]
    assert [film["success"] for film in films] == sorted(set(outcomes), reverse=True)
    for film in films:
        episode = store.episode(outcomes.index(film["success"]))
        assert (film["length"], film["seed"]) == (episode.length, episode.metadata["seed"])
        seen = episode.observations[CAMERA]
        every = -(-len(seen) // 10)
        with av.open(str(folder / film["file"])) as container:
            stream = container.streams.video[0]
            assert float(stream.average_rate or 0) == pytest.approx(
                store.spec.control_hz / every, rel=0.01
            )
            shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert len(shown) == len(seen[::every]) <= 10
        for frame, original in zip(shown, seen[::every], strict=True):
            assert np.abs(frame.astype(int) - original).mean() < 6
    written = {path: path.read_bytes() for path in folder.iterdir()}
    film_cameras(run, "imitation")
    assert {path: path.read_bytes() for path in folder.iterdir()} == written
    write_report(run.folder)
    page = Page.read(run.folder)
    labels = [video.get("aria-label") or "" for video in page.all("video")]
    assert all(label.startswith("What top saw after Imitation: ") for label in labels)
    assert len(labels) == len(films)
    [picture] = page.all("img")
    assert "top after Imitation: frames, and where the policy looks" in (picture["alt"] or "")
