"""The server of the page: what it answers, whom it refuses; nothing a request says is a path."""

from __future__ import annotations

import asyncio
import io
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from softflow.cli.label_commands import prepared
from softflow.cli.label_options import LabelPage
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.labelling.event_kinds import READY_MADE
from softflow.labelling.server import access, frames, running
from softflow.labelling.server.access import Access
from softflow.labelling.server.app import make_app
from softflow.labelling.server.episode_rows import EpisodeRows
from softflow.labelling.server.frames import FrameBlocks
from softflow.labelling.server.routes import Place, Served
from softflow.labelling.server.store_episodes import StoreEpisodes

PORT = 8770
HERE = f"http://localhost:{PORT}"
TOKEN = "0123456789abcdef" * 2
EPISODE = "/api/store/episodes/episode_000001"
SUCCESS = {"step": 30, "kind": "success", "value": 1.0, "name": "success"}


def client_of(path: Path, token: str = "", base: str = HERE) -> TestClient:
    """A client of a server for a store; it talks as a program does, without an origin."""
    place = Place.recorded(StoreEpisodes(path, READY_MADE["success"]))
    served = Served({"store": place}, Access(PORT, token))
    return TestClient(make_app(served), base_url=base, raise_server_exceptions=False)


@pytest.fixture
def client(toy_store: EpisodeStore) -> TestClient:
    return client_of(toy_store.path)


def digest_of(client: TestClient) -> str:
    return client.get(EPISODE).json()["digest"]


def said(client: TestClient, **changes: Any) -> Any:
    """The answer to a label, with some fields as given; None leaves one out."""
    label = {"annotator": "anna", "digest": digest_of(client), "events": [SUCCESS], **changes}
    label = {name: value for name, value in label.items() if value is not None}
    return client.post(f"{EPISODE}/label", json=label)


# ---- what it answers ----------------------------------------------------------------------------


def test_rows_are_told_once_and_again_when_they_change(client: TestClient) -> None:
    first = client.get("/api/store/episodes").json()
    assert [row["title"] for row in first["rows"]] == ["0", "1", "2", "3"]
    assert {row["state"] for row in first["rows"]} == {"unlabelled"}
    since = f"/api/store/episodes?since={first['revision']}"
    assert client.get(since).json()["rows"] == []
    assert said(client).status_code == 200
    (row,) = client.get(since).json()["rows"]
    assert (row["name"], row["state"], row["outcome"]) == ("episode_000001", "labelled", "success")
    assert row["annotators"] == ["anna"]


def test_a_label_is_on_the_disk_when_the_answer_comes(
    client: TestClient, toy_store: EpisodeStore
) -> None:
    assert said(client).status_code == 200
    toy_store.refresh()
    (label,) = toy_store.labels(1)
    assert (label.annotator, label.events) == ("anna", (Event(30, "success", 1.0, "success"),))
    assert said(client).status_code == 200  # once more, because an answer was lost
    toy_store.refresh()
    assert len(toy_store.labels(1)) == 1


def test_a_label_sent_again_does_not_come_behind_what_others_said_since(
    client: TestClient, toy_store: EpisodeStore
) -> None:
    """An answer was lost, ben was faster; what anna says anew, or of a resolution, counts."""

    def newest(**changes: Any) -> list[str]:
        assert said(client, **changes).status_code == 200
        toy_store.refresh()
        return [label.annotator for label in toy_store.labels(1)]

    failure = [{**SUCCESS, "kind": "failure", "name": "failure", "value": 0.0}]
    assert newest() == ["anna"]
    assert newest(annotator="ben", events=failure) == ["anna", "ben"]
    assert newest() == ["anna", "ben"]
    assert newest(annotator="ben", resolves=True, events=failure)[2:] == ["resolution:ben"]
    assert newest()[3:] == ["anna"], "she objects to what was settled"
    assert newest(events=failure)[4:] == ["anna"]
    assert newest()[5:] == ["anna"], "and changes her mind twice"


def test_others_labels_and_new_episodes_come_with_the_next_look(
    client: TestClient, toy_store: EpisodeStore, toy_parts: Any
) -> None:
    since = f"/api/store/episodes?since={client.get('/api/store/episodes').json()['revision']}"
    toy_store.label(1, Label("ben", (Event(3, "failure"),)))
    with EpisodeStore.open(toy_store.path, writable=True) as recorder:
        recorder.append(toy_parts(toy_store.spec, 9))
    names = [row["name"] for row in client.get(since).json()["rows"]]
    assert names == ["episode_000001", "episode_000004"]


def test_frames_are_those_of_every_camera(client: TestClient) -> None:
    answer = client.get(f"{EPISODE}/frames?digest={digest_of(client)}&start=38&count=8")
    steps, cameras = struct.unpack_from("<2I", answer.content)
    assert (steps, cameras) == (3, 2)  # 38, 39 and the final observation
    sizes = struct.unpack_from(f"<{steps * cameras}I", answer.content, 8)
    place = 8 + 4 * len(sizes)
    for number, size in enumerate(sizes):
        picture = Image.open(io.BytesIO(answer.content[place : place + size]))
        assert abs(int(np.asarray(picture)[0, 0, 0]) - 5 * (38 + number // 2)) < 4
        place += size
    assert place == len(answer.content)
    assert "immutable" in answer.headers["cache-control"]


def test_signals_are_those_of_the_episode(client: TestClient, toy_store: EpisodeStore) -> None:
    episode = toy_store.episode(1)
    answer = client.get(f"{EPISODE}/signals?digest={digest_of(client)}")
    values = np.frombuffer(answer.content, "<f4").reshape(-1, 41)
    names = [one["name"] for one in client.get("/api/places").json()["places"]["store"]["channels"]]
    assert len(values) == len(names) == 2 + 3 + 1
    np.testing.assert_array_equal(values[1, :40], episode.actions[:, 1])
    np.testing.assert_array_equal(values[2:5].T, episode.observations["observation.state"])


class Watched:
    """Frames of nothing, which tell which pieces were asked for, and how many at once."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.pieces: list[tuple[int, int]] = []
        self.most_at_once = self._now = 0
        self._wait_s = wait_s

    def __call__(self, recording: Any, start: int, stop: int) -> dict[str, np.ndarray]:
        self.pieces.append((start, stop))
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(self._wait_s)
        self._now -= 1
        return {"cam": np.zeros((stop - start, 8, 8, 3), np.uint8)}

    def close(self) -> None:
        """There is nothing to close."""


def test_kept_blocks_stay_within_their_bound(toy_store: EpisodeStore) -> None:
    rows = EpisodeRows(StoreEpisodes(toy_store.path, READY_MADE["success"]))
    recording, read = rows.recording("episode_000000"), Watched()
    blocks = FrameBlocks(read, most_bytes=1)
    size = len(blocks.block(recording, 0, 4))
    blocks = FrameBlocks(read, most_bytes=2 * size)
    read.pieces.clear()
    for start in (0, 4, 0, 8, 0, 4):
        blocks.block(recording, start, 4)
    assert [start for start, _ in read.pieces] == [0, 4, 8, 4]  # 4 was asked for longest before 8


def test_large_cameras_are_read_in_pieces(
    toy_store: EpisodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 steps of three full-HD cameras are 600 MB of frames: never at once."""
    rows = EpisodeRows(StoreEpisodes(toy_store.path, READY_MADE["success"]))
    recording, read = rows.recording("episode_000000"), Watched()
    whole = FrameBlocks(read).block(recording, 2, 10)
    assert read.pieces == [(2, 12)]
    monkeypatch.setattr(frames, "PIECE_BYTES", 4 * 2 * 32 * 32 * 3)  # four steps of two cameras
    read.pieces.clear()
    assert FrameBlocks(read).block(recording, 2, 10) == whole
    assert read.pieces == [(2, 6), (6, 10), (10, 12)]


def test_a_block_that_many_ask_for_is_made_once(toy_store: EpisodeStore) -> None:
    rows = EpisodeRows(StoreEpisodes(toy_store.path, READY_MADE["success"]))
    recording, read = rows.recording("episode_000000"), Watched(wait_s=0.02)
    blocks = FrameBlocks(read)
    with ThreadPoolExecutor(16) as people:
        asked = [people.submit(blocks.block, recording, 4 * (i % 8), 4) for i in range(64)]
        assert len({one.result() for one in asked}) == 1
    assert len(read.pieces) == 8
    assert 1 <= read.most_at_once <= frames.AT_ONCE


def test_the_end_of_the_server_closes_the_episodes(toy_store: EpisodeStore) -> None:
    server = prepared(LabelPage(toy_store.path, port=0))
    thread = Thread(target=server.answer)
    thread.start()
    episode = f"http://127.0.0.1:{server.port}{EPISODE}"
    digest = httpx.get(episode).json()["digest"]
    assert httpx.get(f"{episode}/frames?digest={digest}&start=0&count=4").status_code == 200
    assert open_in(toy_store.path)
    server.stop()
    thread.join(20)
    assert not open_in(toy_store.path)


def test_half_a_request_keeps_nobody_out(
    toy_store: EpisodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there may be, that never say what they want."""
    monkeypatch.setattr(running, "HEAD_S", 0.3)
    monkeypatch.setattr(running, "MAX_CONNECTIONS", 20)
    server = prepared(LabelPage(toy_store.path, port=0))
    thread = Thread(target=server.answer)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.port}/api/places"
        assert httpx.get(url).status_code == 200
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
        for one in silent:
            one.sendall(b"GET /api/places HTTP/1.1\r\nX: ")
        until_s = time.monotonic() + 20
        while httpx.get(url).status_code != 200:
            assert time.monotonic() < until_s
            time.sleep(0.1)
        for one in silent:
            one.close()
    finally:
        server.stop()
        thread.join(20)


def open_in(folder: Path) -> list[str]:
    """Files of a folder that this process holds open."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if link.startswith(str(folder))]


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"annotator": ""},
        {"annotator": "a" * 101},
        {"annotator": "a\u0000b"},
        {"annotator": "resolution:anna"},
        {"digest": None},
        {"events": [{"step": 40, "kind": "success", "value": 1.0, "name": "success"}]},
        {"events": [{"step": -1, "kind": "success", "value": 1.0}]},
        {"events": [{"step": 1, "kind": "win", "value": 1.0}]},
        {"events": [{"step": 1, "kind": "reward", "value": 7.0, "name": "reward"}]},
        {"events": [{"step": 1, "kind": "reward", "value": 1.0, "name": "<b>"}]},
        {"events": [{"step": 1, "kind": "reward", "value": 1.0, "name": "unknown"}]},
        {"events": [SUCCESS, SUCCESS]},
        {"events": [SUCCESS, {"step": 31, "kind": "reward", "value": 1.0, "name": "reward"}]},
        {"events": [{"step": 0, "kind": "reward", "value": 1.0}] * 1001},
        {"events": "none"},
        {"surprise": 1},
    ],
)
def test_a_label_that_makes_no_sense_is_refused(
    changes: dict[str, Any], client: TestClient, toy_store: EpisodeStore
) -> None:
    answer = said(client, **changes)
    assert answer.status_code == 422
    assert len(answer.json()["error"]) > 10
    toy_store.refresh()
    assert not toy_store.labels(1)


def test_a_label_of_another_recording_is_refused(client: TestClient) -> None:
    answer = said(client, digest="0" * 64)
    assert (answer.status_code, "another recording" in answer.json()["error"]) == (422, True)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"NaN", b'{"annotator": NaN}', b"\xff\xfe", b"[" * 5000, b'{"a":1,"a":2}'],
)
def test_a_body_that_is_no_document(body: bytes, client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post(f"{EPISODE}/label", content=body, headers=headers)
    assert answer.status_code == 422
    assert "error" in answer.json()


def test_a_body_that_is_too_long(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    long = b" " * (access.MAX_BODY_BYTES + 1)
    assert client.post(f"{EPISODE}/label", content=long, headers=headers).status_code == 413
    pieces = (b" " * 2**16 for _ in range(2**8))  # no length is told
    assert client.post(f"{EPISODE}/label", content=pieces, headers=headers).status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/api/store/episodes/..%2f..%2fetc%2fpasswd",
        "/api/store/episodes/episode_999999",
        "/api/store/episodes/episode_000001.zarr.zip",
        "/api/store/episodes/%00",
        "/api/other/episodes",
        "/api/exchange/episodes",
        "/page/..%2fserver%2fapp.py",
        "/page/__init__.py",
        "/page/nothing.js",
        "/store.json",
        "/api/operator",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_name_reaches_a_file(path: str, client: TestClient) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "start=0&count=0",
        "start=0&count=33",
        "start=-1&count=1",
        "start=x&count=1",
        "start=1e9&count=1",
    ],
)
def test_frames_beyond_all_bounds(query: str, client: TestClient) -> None:
    answer = client.get(f"{EPISODE}/frames?digest={digest_of(client)}&{query}")
    assert answer.status_code == 422
    assert "error" in answer.json()


@pytest.mark.parametrize(
    "host",
    ["evil.example:8770", "127.0.0.1:8771", "localhost", "", "localhost:8770.evil.example"],
)
def test_another_host_is_refused_without_a_token(host: str, client: TestClient) -> None:
    """A name of a stranger's that leads to 127.0.0.1."""
    assert client.get("/api/places", headers={"host": host}).status_code == 421
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:9999"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_origins_are_refused(headers: dict[str, str], client: TestClient) -> None:
    for answer in (
        client.get("/api/places", headers=headers),
        client.post(f"{EPISODE}/label", json={}, headers=headers),
    ):
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_a_form_of_another_page_cannot_write(client: TestClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = {"content-type": kind}
        assert client.post(f"{EPISODE}/label", content="{}", headers=headers).status_code == 415


def test_own_origin_is_answered_and_headers_forbid_the_rest(client: TestClient) -> None:
    own = {"origin": HERE, "sec-fetch-site": "same-origin"}
    assert client.get("/api/places", headers=own).status_code == 200
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert client.get("/api/places").headers["cache-control"] == "no-store"


def test_with_a_token_nothing_is_told_to_strangers(toy_store: EpisodeStore) -> None:
    client = client_of(toy_store.path, TOKEN, "http://label.lab")
    assert client.get("/").status_code == 200  # the page itself is no secret
    for path in ("/api/places", "/api/store/episodes", EPISODE, f"{EPISODE}/frames"):
        assert client.get(path).status_code == 401
    assert client.post(f"{EPISODE}/label", json={}).status_code == 401
    wrong = {"authorization": f"Bearer {TOKEN[:-1]}x"}
    assert client.get("/api/places", headers=wrong).status_code == 401
    assert client.post("/api/login", json={"token": "x"}).status_code == 401
    assert client.post("/api/login", json={"token": TOKEN}).status_code == 200
    assert client.get("/api/places").status_code == 200  # the cookie
    fresh = client_of(toy_store.path, TOKEN, "http://label.lab")
    right = {"authorization": f"Bearer {TOKEN}"}
    assert fresh.get("/api/places", headers=right).status_code == 200


def test_a_store_that_was_moved_away_is_told(client: TestClient, toy_store: EpisodeStore) -> None:
    toy_store.path.rename(toy_store.path.parent / "elsewhere")
    answer = client.get("/api/store/episodes")
    assert answer.status_code == 503
    assert "moved away" in answer.json()["error"]


def test_damaged_labels_and_proposals_cost_their_episode_only(
    client: TestClient, toy_store: EpisodeStore
) -> None:
    for folder in ("labels", "proposals"):
        (toy_store.path / folder).mkdir()
    (toy_store.path / "labels" / "episode_000000.000.00000000.json").write_text("{")
    (toy_store.path / "proposals" / "episode_000002.00000000.json").write_text("{")
    states = {r["name"]: r["state"] for r in client.get("/api/store/episodes").json()["rows"]}
    assert states["episode_000000"] == "unreadable"
    assert states["episode_000001"] == "unlabelled"
    detail = client.get("/api/store/episodes/episode_000002").json()
    assert "is damaged" in detail["problem"]
    assert detail["proposals"] == []


def test_an_episode_that_is_still_being_copied_in_is_there_once_it_is_whole(
    client: TestClient, toy_store: EpisodeStore
) -> None:
    path = toy_store.episode_path(2)
    whole = path.read_bytes()
    path.write_bytes(whole[:900])
    first = client.get("/api/store/episodes").json()
    assert first["rows"][2]["state"] == "unreadable"
    since = f"/api/store/episodes?since={first['revision']}"
    assert client.get(since).json()["rows"] == []
    path.write_bytes(whole)
    assert [row["state"] for row in client.get(since).json()["rows"]] == ["unlabelled"]
    assert client.get(since).json()["rows"][0]["length"] == 40


def test_revisions_of_one_server_are_none_of_another(toy_store: EpisodeStore) -> None:
    first = client_of(toy_store.path).get("/api/store/episodes").json()
    time.sleep(0.002)
    again = client_of(toy_store.path).get(f"/api/store/episodes?since={first['revision']}").json()
    assert again["began"] != first["began"]
    assert len(again["rows"]) == 4  # whatever was labelled meanwhile is told


def test_a_body_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "BODY_S", 0.05)
    headers = {"host": f"localhost:{PORT}", "content-type": "application/json"}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": f"{EPISODE}/label", "headers": raw}
    told: list[Any] = []

    async def dripping() -> Any:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"{", "more_body": True}

    async def tell(message: Any) -> None:
        told.append(message)

    async def never(*parts: Any) -> None:
        raise AssertionError(parts)

    asyncio.run(access.Guard(never, Access(PORT))(scope, dripping, tell))
    assert told[0]["status"] == 408


def test_a_missing_camera_is_told(toy_store: EpisodeStore, toy_parts: Any, tmp_path: Path) -> None:
    """A file that was copied in from a store with one camera less."""
    shapes = dict(toy_store.spec.observation_shapes)
    del shapes["observation.images.cam1"]
    spec = replace(toy_store.spec, observation_shapes=shapes)
    with EpisodeStore.create(tmp_path / "other", spec) as other:
        other.append(toy_parts(spec, 1))
        other.episode_path(0).rename(toy_store.episode_path(1))
    client = client_of(toy_store.path)
    query = f"digest={digest_of(client)}&start=0&count=1"
    answer = client.get(f"{EPISODE}/frames?{query}")
    assert answer.status_code == 503
    assert "observation.images.cam1" in answer.json()["error"]
    assert client.get(f"{EPISODE}/signals?{query}").status_code == 200
    assert said(client).status_code == 200
