"""One self-contained HTML page per run: results, curves, diagnostics, videos, how to repeat it.

The page makes no request: styles, charts and videos are inside it, so it can be mailed. It is drawn
from whatever the run folder holds and says what is missing.
"""

from __future__ import annotations

import base64
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from softflow.data.task_profile import Measure
from softflow.pages.camera_section import films_html, looks_html
from softflow.pages.evaluations.record import EpisodeResult, Evaluation
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.held_out.section import held_out_html
from softflow.pages.history.section import history_html
from softflow.pages.html import (
    details_html,
    duration,
    figure_html,
    number,
    table_html,
    tree_html,
    write_html,
)
from softflow.pages.measure_charts import (
    by_robot_steps,
    by_stage,
    interval_text,
    value_text,
)
from softflow.pages.robot.section import robot_html
from softflow.pages.run_charts import (
    DIAGNOSTIC_NOTES,
    diagnostic_trends,
    learning_curves,
    q_against_returns,
    robot_curves,
)
from softflow.pages.run_headline import headline
from softflow.pages.run_record import RunRecord, Video, find_key, read_run

_CURVES_SHOWN = 12
_LARGEST_VIDEO_BYTES = 16 * 2**20


def write_report(run_dir: str | Path) -> Path:
    """Write `report.html` into a run folder, from whatever the folder holds, and return its path.

    Raises:
        StoreError: if there is no such folder, or the page cannot be written.
    """
    record = read_run(run_dir)
    measured = record.measures_success()
    sections = (
        _header(record),
        _results(record),
        "" if measured else held_out_html(record),
        _videos(record) + films_html(record),
        looks_html(record),
        _curves(record),
        _robot_curves(record),
        robot_html(record.rollouts.loops) if record.rollouts else "",
        held_out_html(record) if measured else "",
        _diagnostics(record),
        _episodes(record),
        history_html(record.history, STAGES),
        _reproduce(record),
    )
    path = record.path / "report.html"
    write_html(path, f"{_name(record)} · softflow", "\n".join(filter(None, sections)))
    return path


def _header(record: RunRecord) -> str:
    sentence, under = headline(record)
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in _facts(record)
    )
    return (
        f'<header><h1>{escape(_name(record))}</h1><p class="headline">{sentence}</p>'
        f'<p class="under">{escape(under)}</p><dl class="facts">{facts}</dl>'
        f"{_blind(record)}{_missing(record)}</header>"
    )


def _name(record: RunRecord) -> str:
    env_id = record.rollouts.spec.env_id if record.rollouts else find_key(record.config, "env_id")
    run = record.path.resolve().name
    return f"{env_id} · {run}" if env_id else run


def _facts(record: RunRecord) -> Iterable[tuple[str, str]]:
    """Short facts for the line under the headline; only those that are known."""
    seed = find_key(record.config, "seed")
    if isinstance(seed, int):
        yield "Seed", str(seed)
    if record.rollouts:
        yield "Online episodes", f"{len(record.rollouts.length):,}"
        yield "Robot steps", f"{int(record.rollouts.length.sum()):,}"
    if record.metrics:
        yield "Running time", duration(max(float(s.time_s.max()) for s in record.metrics))
    yield "Report written", time.strftime("%Y-%m-%d %H:%M")


def _blind(record: RunRecord) -> str:
    """What of the data the policy did not look at: cameras, above all."""
    unread = find_key(record.config, "unread_observations")
    if not isinstance(unread, list) or not unread:
        return ""
    names = ", ".join(f"<code>{escape(str(key))}</code>" for key in unread)
    return f'<p class="note" role="note">The policy is blind to {names}: it never looks there.</p>'


def _missing(record: RunRecord) -> str:
    missing = record.missing()
    if not missing:
        return ""
    progress = ""
    if record.metrics:
        last = max(record.metrics, key=lambda s: float(s.time_s[-1]))
        stage = STAGES.get(last.stage, last.stage)
        progress = f", last seen at update {int(last.update_step[-1]):,} of {stage}"
    items = "".join(f"<li>{escape(item)}</li>" for item in missing)
    return (
        f'<div class="missing" role="note">This run is incomplete{escape(progress)}. '
        f"The page shows what there is.<ul>{items}</ul></div>"
    )


def _results(record: RunRecord) -> str:
    measures = record.measures()
    drawn = (chart(record, measure) for measure in measures for chart in (by_stage, by_robot_steps))
    charts = "".join(figure_html(figure, note_below=True) for figure in drawn if figure)
    if not charts:
        return ""
    title = measures[0].short_title.capitalize() if len(measures) == 1 else "Results"
    table = _evaluation_table(record, measures)
    return f'<h2>{escape(title)}</h2><div class="grid two">{charts}</div>{table}'


def _evaluation_table(record: RunRecord, measures: Sequence[Measure]) -> str:
    head, rows = (
        ["Evaluation"],
        [[f'<b class="{escape(e.stage)}">{escape(e.title)}</b>'] for e in record.evaluations],
    )
    for measure in measures:
        head += [measure.short_title.capitalize(), "95 % interval"]
        for row, evaluation in zip(rows, record.evaluations, strict=True):
            found = evaluation.measured(measure.name)
            row += [escape(value_text(found)), interval_text(found)] if found else ["–", "–"]
    columns: dict[str, Callable[[Evaluation], str]] = {
        "Episodes": lambda e: f"{e.num_episodes:,}",
        **({"Mean steps to success": _mean_length} if record.judges_success() else {}),
        "Online episodes": lambda e: f"{e.online_episodes:,}",
        "Robot steps": lambda e: f"{e.robot_steps:,}",
        "Updates": lambda e: f"{e.update_step:,}",
        "Chunk chosen by": lambda e: escape(e.chosen_by),
        "Time": lambda e: duration(e.wall_time_s),
    }
    for row, evaluation in zip(rows, record.evaluations, strict=True):
        row += [cell(evaluation) for cell in columns.values()]
    return details_html("All evaluations", str(len(rows)), table_html(head + list(columns), rows))


def _mean_length(evaluation: Evaluation) -> str:
    lengths = [episode.length for episode in evaluation.episodes if episode.success]
    return f"{sum(lengths) / len(lengths):.0f}" if lengths else "–"


def _videos(record: RunRecord) -> str:
    videos = [video for stage in STAGES for video in record.shown_videos(stage)]
    if not videos:
        return ""
    shown = "".join(_video(video, record.judges_success()) for video in videos)
    return f'<h2>Rollouts</h2><div class="grid four">{shown}</div>'


def _video(video: Video, judged: bool) -> str:
    name = STAGES[video.stage]
    if video.path.stat().st_size > _LARGEST_VIDEO_BYTES:
        media = f'<p class="note">videos/{escape(video.path.name)} is too large to show here.</p>'
    else:
        payload = base64.b64encode(video.path.read_bytes()).decode()
        media = (
            f'<video src="data:video/mp4;base64,{payload}" controls autoplay muted loop '
            f'playsinline aria-label="A rollout after {escape(name)}"></video>'
        )
    return (
        f'<figure class="{video.stage}">{media}<figcaption><b>{escape(name)}</b><br>'
        f"{_outcome(video, judged)}</figcaption></figure>"
    )


def _outcome(video: Video, judged: bool) -> str:
    episode = video.episode
    if "success" not in episode:
        return "outcome not recorded"
    words = ["✓ success" if episode["success"] else "✗ failure"] if judged else []
    if "events" in episode:
        words.append(_events_text(Counter(str(name) for _, name in episode["events"])))
    if "length" in episode:
        words.append(f"{int(episode['length']):,} steps")
    seed = f" · seed {escape(str(episode['seed']))}" if "seed" in episode else ""
    return f'<span class="outcome">{escape(", ".join(words))}</span>{seed}'


def _events_text(counts: Mapping[str, int]) -> str:
    """What happened how often, in words: cut × 2, dropped."""
    each = (name + f" × {n}" * (n > 1) for name, n in counts.items())
    return ", ".join(each).replace("_", " ") or "no events"


def _curves(record: RunRecord) -> str:
    figures = [figure_html(figure) for figure in learning_curves(record)]
    if not figures:
        return ""
    stages = {series.stage for series in record.metrics}
    legend = "".join(
        f'<span class="{stage}">{name}</span>' for stage, name in STAGES.items() if stage in stages
    )
    shown, rest = figures[:_CURVES_SHOWN], figures[_CURVES_SHOWN:]
    more = ""
    if rest:
        grid = f'<div class="grid three">{"".join(rest)}</div>'
        more = details_html("More curves", str(len(rest)), grid)
    return (
        f'<h2>Learning curves</h2><div class="legend">{legend}'
        '<p class="note">Horizontal: gradient updates, stages end to end. Line: mean; band: range.'
        f'</p></div><div class="grid three">{"".join(shown)}</div>{more}'
    )


def _robot_curves(record: RunRecord) -> str:
    figures = [figure_html(figure) for figure in robot_curves(record)]
    if not figures:
        return ""
    return (
        '<h2>Learning curves against robot steps</h2><div class="legend">'
        f'<span class="online_rl">{STAGES["online_rl"]}</span>'
        '<p class="note">Horizontal: control steps on the robot. Line: mean of the updates made '
        f'at that point; band: range.</p></div><div class="grid three">{"".join(figures)}</div>'
    )


def _diagnostics(record: RunRecord) -> str:
    if not record.diagnostics:
        return ""
    calibration = q_against_returns(record)
    trends = "".join(figure_html(figure) for figure in diagnostic_trends(record))
    charts = f'<div class="grid {"two" if calibration else "four"}">{trends}</div>' * bool(trends)
    if calibration:
        scatter = figure_html(calibration, note_below=True)
        charts = f'<div class="grid calibrated">{scatter}{charts}</div>'
    names = list(dict.fromkeys(name for d in record.diagnostics for name in d.numbers))
    head = ["Diagnostic", *(d.title for d in record.diagnostics)]
    rows = [
        [
            escape(_diagnostic_words(name)),
            *(number(d.numbers.get(name)) for d in record.diagnostics),
        ]
        for name in names
    ]
    numbers = details_html("As numbers", str(len(rows)), table_html(head, rows))
    return f"<h2>Diagnostics</h2>{charts}{numbers}"


def _diagnostic_words(name: str) -> str:
    """The heading of a diagnostic, of one without a chart its name in words."""
    return DIAGNOSTIC_NOTES.get(name, (name.replace("_", " ").capitalize(), ""))[0]


def _episodes(record: RunRecord) -> str:
    """Every evaluation episode: seeds down, stages across, so that equal starts are compared."""
    finals = [e for stage in STAGES if (e := record.final(stage)) and e.episodes]
    if not finals:
        return ""
    judged = record.judges_success()
    by_seed = [{episode.seed: episode for episode in e.episodes} for e in finals]
    seeds = list(dict.fromkeys(seed for episodes in by_seed for seed in episodes))
    rows = [
        [str(seed), *(_episode(episodes.get(seed), judged) for episodes in by_seed)]
        for seed in seeds
    ]
    table = table_html(["Seed", *(e.title for e in finals)], rows)
    meaning = "✓ success, ✗ failure, with" if judged else "What happened, and"
    note = f'<p class="note">{meaning} the number of control steps.</p>'
    found = details_html("Every evaluation episode", f"{len(seeds)} seeds", note + table)
    return f"<h2>Episodes</h2>{found}"


def _episode(episode: EpisodeResult | None, judged: bool) -> str:
    """A cell of the table: success, events and length of one episode."""
    if episode is None:
        return "–"
    words = [f"{'✓' if episode.success else '✗'} {episode.length}"] if judged else []
    if episode.events is not None:
        words.append(escape(_events_text(episode.events)))
    if not judged:
        words.append(str(episode.length))
    text = " · ".join(words)
    return text if episode.success or not judged else f'<span class="no">{text}</span>'


def _reproduce(record: RunRecord) -> str:
    shown = '<p class="note">The run folder does not record its command.</p>'
    if commands := _commands(record):
        note = "In this order; each went on where the one before it had stopped."
        shown = f'<p class="note">{note}</p>' * (len(commands) > 1)
        shown += f"<pre>{escape(chr(10).join(commands))}</pre>"
    trees = (("Configuration", record.config), ("Versions", record.versions))
    values = "".join(
        tree_html(title, {key: value for key, value in tree.items() if key != "command"})
        for title, tree in trees
    )
    return f"<h2>Reproduce</h2>{shown}{values}"


def _commands(record: RunRecord) -> list[str]:
    """The commands that made a run, in their order; of the same one twice in a row, one."""
    earlier = record.versions.get("earlier")
    parts = [*(earlier if isinstance(earlier, list) else []), record.versions]
    told = [find_key(part, "command") for part in parts]
    if not any(told):
        told = [find_key(record.config, "command")]
    words = [shlex.join(map(str, one)) if isinstance(one, list) else one for one in told]
    return [str(one) for i, one in enumerate(words) if one and (i == 0 or words[i - 1] != one)]
