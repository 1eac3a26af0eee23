"""What the data commands print: plain tables, the same on a terminal and in a file."""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softflow.curation.stored_frames import frames_told
from softflow.curation.summary_statistics import QUANTILES, KeyStatistics
from softflow.data.data_spec import is_image_key
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import EpisodeSummary
from softflow.data.files.store_identity import read_identity_of
from softflow.data.labels import TAKEN_AT_IMPORT, outcome_known, taken_for
from softflow.data.seen_again import foreign_actions
from softflow.utils.intervals import wilson_interval

_GROUPS_SHOWN = 12


def aligned(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Rows of cells in columns; numbers are set to the right, the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = [_numeric([row[i] for row in rows[1:]]) for i in range(len(rows[0]))]
    lines = (
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        )
        for row in rows
    )
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def _numeric(cells: Sequence[str]) -> bool:
    return all(re.fullmatch(r"(-?[0-9.,]+(e[+-]\d+)?|-?inf|nan)?", cell) for cell in cells)


def bytes_text(size: int) -> str:
    """A file size for people: 3.2 MiB."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def time_text(seconds: float) -> str:
    """A time span for people: 34.2 s, 21.0 min, 3.25 hours."""
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} hours"


def success_text(successes: int, episodes: int) -> str:
    """Successes with their rate and its 95 % Wilson interval."""
    if not episodes:
        return "not known of any episode"
    low, high = wilson_interval(successes, episodes)
    rate = 100 * successes / episodes
    return (
        f"{successes}/{episodes} = {rate:.0f} % (95 % interval {100 * low:.0f}–{100 * high:.0f} %)"
    )


def observed(summaries: Sequence[EpisodeSummary]) -> list[EpisodeSummary]:
    """The episodes of which their recording or a label says how they went."""
    return [s for s in summaries if outcome_known(s.metadata) and not taken_for(s.metadata)]


def taken_text(summaries: Sequence[EpisodeSummary]) -> str:
    """How many episodes an import took for successes or failures; "" without any."""
    taken = Counter(taken_for(s.metadata) for s in summaries)
    words = {"success": "successes", "failure": "failures"}
    return ", ".join(
        f"{taken[what]:,} taken for {many} ({TAKEN_AT_IMPORT}{what})"
        for what, many in words.items()
        if taken[what]
    )


def _outcomes_text(summaries: Sequence[EpisodeSummary]) -> str:
    """Successes that somebody or something saw, then those that were only vouched for."""
    seen, taken = observed(summaries), taken_text(summaries)
    told = success_text(sum(s.success for s in seen), len(seen))
    return f"{told}; {taken}" if seen and taken else taken or told


def success_by(summaries: Sequence[EpisodeSummary], key: str) -> list[tuple[str, int, int]]:
    """(value, successes, episodes) of each value of a metadata key, the most frequent first.

    Episodes of which nobody said how they went are left out, and those taken for something.
    """
    known = [s for s in observed(summaries) if key in s.metadata]
    episodes = Counter(str(s.metadata[key]) for s in known)
    successes = Counter(str(s.metadata[key]) for s in known if s.success)
    return [(value, successes[value], count) for value, count in episodes.most_common()]


def store_overview(store: EpisodeStore) -> str:
    """A store at a glance."""
    summaries = store.summaries()
    steps = sum(s.length for s in summaries)
    labelled = sum("annotator" in s.metadata for s in summaries)
    known = [s for s in summaries if outcome_known(s.metadata)]
    spec = store.spec
    facts = {
        "episodes": f"{len(store)}",
        "steps": f"{steps:,} at {spec.control_hz:g} Hz, {time_text(steps / spec.control_hz)}",
        "success": _outcomes_text(summaries),
        "labels": f"{labelled} labelled afterwards, {len(summaries) - len(known)} not labelled",
        "environment": spec.env_id or "unknown",
        **({"frames": "; ".join(frames)} if (frames := frames_told(store)) else {}),
        "size on disk": bytes_text(_size_on_disk(store.path)),
        "store format": str(read_identity_of(store.path).format_version),
    }
    for key, title in (("policy_version", "policy versions"),):
        if counts := Counter(str(s.metadata[key]) for s in summaries if key in s.metadata):
            facts[title] = ", ".join(f"{value} ({n})" for value, n in counts.most_common(8))
    width = max(map(len, facts))
    lines = [f"  {name.ljust(width)}  {value}" for name, value in facts.items()]
    parts = [f"{store.path}", "\n".join(lines), _keys_table(store)]
    parts += [_group_table(summaries, key) for key in ("operator", "source", "annotator")]
    told = foreign_actions(summaries)
    parts.append(f"careful: {told}" if told else "")
    return "\n\n".join(filter(None, parts))


def names_text(names: Sequence[str]) -> str:
    """Names of components on one line: numbered ones as "qpos.0–8"."""
    runs: list[list[str]] = []
    for name in names:
        stem, _, number = runs[-1][-1].rpartition(".") if runs else ("", "", "")
        if stem and number.isdecimal() and name == f"{stem}.{int(number) + 1}":
            runs[-1].append(name)
        else:
            runs.append([name])
    texts = [run[0] + (f"–{run[-1].rpartition('.')[2]}" if run[1:] else "") for run in runs]
    return ", ".join(texts)


def _size_on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _keys_table(store: EpisodeStore) -> str:
    spec = store.spec
    rows = [["key", "shape", "type", "components"]]
    for key in sorted(spec.observation_shapes):
        shape = " x ".join(map(str, spec.observation_shapes[key])) or "1"
        kind = "uint8" if is_image_key(key) else "float32"
        rows.append([key, shape, kind, names_text(spec.names.get(key, ()))])
    bounds = f"from {min(spec.action_low):g} to {max(spec.action_high):g}"
    names = names_text(spec.names.get("action", ())) or bounds
    rows.append(["action", str(spec.action_dim), "float32", names])
    return aligned(rows)


def _group_table(summaries: Sequence[EpisodeSummary], key: str) -> str:
    """Success by operator or source; nothing if no episode names one."""
    groups = success_by(summaries, key)
    if not groups:
        return ""
    rows = [[key, "success"]]
    rows += [[value, success_text(good, n)] for value, good, n in groups[:_GROUPS_SHOWN]]
    more = len(groups) - _GROUPS_SHOWN
    return aligned(rows) + (f"\n  and {more} more" if more > 0 else "")


def episode_table(store: EpisodeStore) -> str:
    """One line per episode."""
    rows = [["episode", "steps", "success", "end", "return", "labels", "operator", "source"]]
    for summary in store.summaries():
        data = summary.metadata
        rows.append(
            [
                str(summary.index),
                str(summary.length),
                _success_word(summary),
                "terminated" if summary.terminated else "truncated",
                f"{summary.return_:.4g}",
                str(len(store.labels(summary.index))),
                str(data.get("operator", "")),
                str(data.get("source", "")),
            ]
        )
    return aligned(rows)


def _success_word(summary: EpisodeSummary) -> str:
    if not outcome_known(summary.metadata):
        return "?"
    word = "yes" if summary.success else "no"
    return f"{word} (taken)" if taken_for(summary.metadata) else word


def episode_details(store: EpisodeStore, index: int) -> str:
    """Everything known of one episode."""
    summary, path = store.summary(index), store.episode_path(index)
    seconds = summary.length / store.spec.control_hz
    facts = {
        "file": f"{path} ({bytes_text(path.stat().st_size)})",
        "steps": f"{summary.length}, {seconds:.3g} s",
        "success": _success_word(summary),
        "end": "terminated" if summary.terminated else "truncated",
        "return": f"{summary.return_:.6g}",
    }
    lines = [f"  {name.ljust(8)}  {value}" for name, value in facts.items()]
    for label in store.labels(index):
        events = ", ".join(f"{e.kind} at step {e.step} ({e.value:g})" for e in label.events)
        said = "withdrawn" if label.withdrawn else events or "nothing happened"
        lines.append(f"  {'label'.ljust(8)}  {label.annotator}, {label.created}: {said}")
    metadata = textwrap.indent(json.dumps(summary.metadata, indent=2), " " * 4)
    return "\n".join([f"episode {index}", *lines, "  metadata", metadata])


def statistics_tables(statistics: Sequence[KeyStatistics]) -> Iterator[str]:
    """A table per array, one line per component."""
    heads = [f"{100 * q:g} %" if q != 0.5 else "median" for q in QUANTILES]
    for key in statistics:
        columns = [key.low, *key.quantiles, key.high, key.mean, key.std]
        rows = [["", "min", *heads, "max", "mean", "std"]]
        for i, name in enumerate(key.names):
            rows.append([name, *(f"{column[i]:.4g}" for column in columns)])
        sampled = "" if key.exact_quantiles else ", quantiles of a fixed sample"
        of = "pixels" if is_image_key(key.key) else "rows"
        yield f"{key.key} ({key.count:,} {of}{sampled})\n{aligned(rows)}"


def episode_numbers(summaries: Sequence[EpisodeSummary]) -> dict[str, Any]:
    """Lengths, returns and success of all episodes, JSON-able."""
    numbers: dict[str, Any] = {"episodes": len(summaries)}
    for name, values in (
        ("length", [s.length for s in summaries]),
        ("return", [s.return_ for s in summaries]),
    ):
        array = np.asarray(values, np.float64)
        numbers[name] = {
            "min": float(array.min()),
            "median": float(np.median(array)),
            "mean": float(array.mean()),
            "max": float(array.max()),
            "sum": float(array.sum()),
        }
    known = observed(summaries)
    successes = sum(s.success for s in known)
    numbers["outcomes_taken"] = sum(bool(taken_for(s.metadata)) for s in summaries)
    numbers["outcomes_known"], numbers["successes"] = len(known), successes
    numbers["success_rate"] = successes / len(known) if known else None
    numbers["success_interval"] = list(wilson_interval(successes, len(known)))
    return numbers


def episode_numbers_table(numbers: dict[str, Any]) -> str:
    """`episode_numbers` as text."""
    heads = ["min", "median", "mean", "max", "sum"]
    rows = [["episodes", *heads]]
    rows += [[name, *(f"{numbers[name][h]:.6g}" for h in heads)] for name in ("length", "return")]
    success = success_text(numbers["successes"], numbers["outcomes_known"])
    if taken := numbers["outcomes_taken"]:
        success += f"; {taken} taken for what the import was told (--unlabelled)"
    return f"{aligned(rows)}\n  success  {success}"


def statistics_json(statistics: Sequence[KeyStatistics]) -> dict[str, Any]:
    """Statistics per array and component, JSON-able."""
    return {
        key.key: {
            "count": key.count,
            "exact_quantiles": key.exact_quantiles,
            "components": {
                name: {
                    "min": float(key.low[i]),
                    "max": float(key.high[i]),
                    "mean": float(key.mean[i]),
                    "std": float(key.std[i]),
                    "quantiles": {
                        f"{q:g}": float(key.quantiles[j, i]) for j, q in enumerate(QUANTILES)
                    },
                }
                for i, name in enumerate(key.names)
            },
        }
        for key in statistics
    }
