"""Whatever the files of a run or a store say, a page comes of it, and they are text in it."""

from __future__ import annotations

import base64
import csv
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_documents import NOT_JSON, mutations
from point_world import demonstration, point_spec
from report_run import make_run

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.errors import SoftflowError, StoreError
from softflow.pages.data_page import write_page
from softflow.pages.run_report import write_report
from softflow.utils.metrics import COLUMNS, MetricLogger, read_metrics
from softflow.utils.progress import SilentProgress

PAYLOAD = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m&amp;{{x}}"
DOCUMENTS = (
    "config.json",
    "versions.json",
    "evaluations/imitation.json",
    "diagnostics/imitation.json",
    "videos/imitation.json",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_run(
        tmp_path_factory.mktemp("runs") / "run", labels=["imitation", "offline_rl"], rollouts=0
    )
    few = (path / "metrics.csv").read_text().splitlines(keepends=True)[:60]
    (path / "metrics.csv").write_text("".join(few))
    return path


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


class Elements(HTMLParser):
    """What a browser would make of a page: tags, and the attributes that could run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.running: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name.startswith("on") or (value or "").lower().startswith("javascript:"):
                self.running.append(f"{tag} {name}={value}")


def require_harmless(page: str) -> None:
    found = Elements()
    found.feed(page)
    assert not found.running
    assert not {"script", "iframe", "object", "embed", "link", "base"} & found.tags.keys()
    assert "onerror=alert(1)>" not in page
    assert "\x1b" not in page


def with_payload(value: Any) -> Any:
    """A document with the payload in the place of each text and behind each name."""
    if isinstance(value, dict):
        keys = {str(key): with_payload(entry) for key, entry in value.items()}
        return keys | {f"{key}{PAYLOAD}": entry for key, entry in keys.items()}
    if isinstance(value, list):
        return [with_payload(entry) for entry in value]
    return PAYLOAD if isinstance(value, str) else value


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_text_of_a_document_becomes_markup(run: Path, document: str) -> None:
    path = run / document
    value = with_payload(json.loads(path.read_text()))
    if document.startswith("videos"):
        value["events"] = [[1, PAYLOAD]]
    if document.startswith("evaluations"):
        value["episodes"][0]["events"] = {PAYLOAD: 1}
    path.write_text(json.dumps(value))
    page = write_report(run).read_text()
    require_harmless(page)
    assert "alert(1)" in page, "it is shown, as text"


def test_no_name_of_a_file_becomes_markup(run: Path) -> None:
    name = "imitation" + PAYLOAD.replace("/", "")
    for folder in ("evaluations", "diagnostics"):
        shutil.copy(run / folder / "imitation.json", run / folder / f"{name}.json")
    shutil.copy(run / "videos/imitation.mp4", run / "videos" / f"{name}.mp4")
    strange = run.rename(run.parent / PAYLOAD.replace("/", ""))
    require_harmless(write_report(strange).read_text())


@pytest.mark.parametrize("column", ["stage", "name"])
@pytest.mark.parametrize(
    "text",
    [
        PAYLOAD.replace('"', ""),
        "../../outside",
        "/tmp/outside",
        "a/../../b",
        "..",
        ".",
        "a//b",
        "",
        "x" * 5_000,
        "a\tb",
        "\x1b]0;title\x07",
    ],
)
def test_names_in_metrics_neither_become_markup_nor_folders(
    run: Path, column: str, text: str
) -> None:
    row = {"time_s": "1.0", "stage": "imitation", "update_step": "3000", "robot_steps": "0"}
    values = row | {"name": "nll", "value": "1.5"} | {column: text}
    with (run / "metrics.csv").open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(values[name] for name in COLUMNS)
    with pytest.raises(StoreError, match="not a row of metrics") as told:
        read_metrics(run)
    assert len(str(told.value)) < 700
    with pytest.raises(StoreError, match="not a row of metrics"), MetricLogger(run) as logger:
        logger.rewind(10_000)
    assert not (run.parent / "outside").exists()
    page = write_report(run).read_text()
    require_harmless(page)
    assert "is not a row of metrics" in page


def lines_that_are_no_rows() -> Iterator[bytes]:
    for place, others in enumerate(
        (
            (b"", b"x", b"nan", b"1e300", b"-inf"),
            (b'"', b"a b", b"\xff\xfe"),
            (b"", b"-1", b"1.5", b"9" * 30, b"x"),
            (b"", b"-1", b"1.5", b"9" * 30, b"x"),
            (b"\xc3", b"\0"),
            (b"", b"x", b"--1"),
        )
    ):
        for other in others:
            row = [b"1.0", b"imitation", b"5", b"0", b"nll", b"1.5"]
            row[place] = other
            yield b",".join(row)
    yield from (b"", b",,,,,", b"1,imitation,5,0,nll", b"1,imitation,5,0,nll,1,1", b"\0" * 50)


def test_damaged_metrics_are_told_with_their_line(run: Path) -> None:
    content = (run / "metrics.csv").read_bytes()
    for line in lines_that_are_no_rows():
        (run / "metrics.csv").write_bytes(content + line + b"\n")
        with pytest.raises(StoreError, match="line 61 is not a row"):
            read_metrics(run)
    for content in (b"\xff" * 100, b"\0" * 100, b"<html>", b"a,b\n1,2\n", b"PK\x03\x04"):
        (run / "metrics.csv").write_bytes(content)
        with pytest.raises(StoreError, match="does not start with the columns"):
            read_metrics(run)
        assert "does not start with the columns" in write_report(run).read_text()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_no_json_is_told_on_the_page(run: Path, document: str) -> None:
    for content in NOT_JSON.values():
        (run / document).write_bytes(content)
        page = write_report(run).read_text()
        require_harmless(page)
        assert Path(document).name in page
        assert "is damaged" in page or "cannot be used" in page


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_page_comes_of_any_values(run: Path, document: str) -> None:
    path = run / document
    some = list(mutations(json.loads(path.read_text())))
    for _, changed in some[:: 1 + len(some) // 60]:
        path.write_text(json.dumps(changed))
        require_harmless(write_report(run).read_text())


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e300", "-1e300", "5e-324"])
def test_a_page_comes_of_any_metric(run: Path, value: str) -> None:
    lines = (run / "metrics.csv").read_text().splitlines()
    changed = [line.rpartition(",")[0] + f",{value}" for line in lines[40:]]
    (run / "metrics.csv").write_text("\n".join([*lines[:40], *changed]) + "\n")
    write_report(run)


def test_no_text_of_a_store_becomes_markup(tmp_path: Path) -> None:
    camera = "observation.images." + PAYLOAD.replace("/", "").replace("\x1b", "")
    spec = replace(
        point_spec(),
        env_id=PAYLOAD,
        observation_shapes={STATE_KEY: (4,), camera: (8, 8, 3)},
        names={"action": (PAYLOAD, f"{PAYLOAD}2"), STATE_KEY: (PAYLOAD, "b", "c", "d")},
    )
    facts = {"operator": PAYLOAD, "source": PAYLOAD, "policy_version": PAYLOAD}
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        for seed in range(4):
            episode = demonstration(seed, towards_goal=seed % 2 == 0)
            frames = np.zeros((episode.length + 1, 8, 8, 3), np.uint8)
            more = {key: f"{value}{seed}" for key, value in facts.items()}
            store.append(
                replace(
                    episode,
                    observations=episode.observations | {camera: frames},
                    metadata=episode.metadata | more,
                )
            )
        page = write_page(store, tmp_path / "page.html", 5, SilentProgress())
    require_harmless(page.read_text())


EVENTS: tuple[Any, ...] = (1, "text", [1], [[1]], [["a", 1]], {"a": 1}, [[1, "a", 2]], None)


@pytest.mark.parametrize("events", EVENTS)
def test_events_of_another_kind_are_told(run: Path, events: Any) -> None:
    with EpisodeStore.create(run / "online", point_spec()) as store:
        episode = demonstration(1, towards_goal=True)
        store.append(replace(episode, metadata={"events": events}))
    page = write_report(run).read_text()
    assert "the metadata &#x27;events&#x27; is" in page


@pytest.mark.parametrize("name", [*DOCUMENTS, "videos/imitation.mp4"])
@pytest.mark.parametrize("leads_to", ["secret", "/dev/zero", "pipe"])
def test_a_page_shows_nothing_that_a_link_leads_to(run: Path, name: str, leads_to: str) -> None:
    """A page is mailed; its maker's files are not, nor does a pipe or an endless file stop it."""
    secret = run.parent / "secret"
    secret.write_text('{"password": "open sesame"}')
    os.mkfifo(run.parent / "pipe")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(run.parent / leads_to)
    page = write_report(run).read_text()
    assert "open sesame" not in page
    assert base64.b64encode(secret.read_bytes()).decode() not in page
    assert Path(name).name in page, "it is told"


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(SoftflowError, match="no run folder"):
            write_report(path)
