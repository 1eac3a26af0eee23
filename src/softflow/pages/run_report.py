"""One self-contained HTML page per run: results, curves, diagnostics, videos, how to repeat it.

The page makes no request: styles, charts and videos are inside it, so it can be mailed. It is drawn
from whatever the run folder holds and says what is missing.
"""

from __future__ import annotations

import base64
import shlex
import time
from collections.abc import Iterable
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from softflow.pages.html import (
    details_html,
    duration,
    figure_html,
    number,
    table_html,
    tree_html,
)
from softflow.pages.run_charts import (
    diagnostic_trends,
    interval_text,
    learning_curves,
    percent,
    q_against_returns,
    robot_curves,
    success_by_robot_steps,
    success_by_stage,
)
from softflow.pages.run_record import STAGES, Evaluation, RunRecord, Video, find_key, read_run
from softflow.utils.files import write_bytes

_CURVES_SHOWN = 12
_LARGEST_VIDEO_BYTES = 16 * 2**20


def write_report(run_dir: str | Path) -> Path:
    """Write `report.html` into a run folder, from whatever the folder holds, and return its path.

    Raises:
        StoreError: if there is no such folder, or the page cannot be written.
    """
    record = read_run(run_dir)
    sections = (
        _header(record),
        _success(record),
        _videos(record),
        _curves(record),
        _robot_curves(record),
        _diagnostics(record),
        _episodes(record),
        _reproduce(record),
    )
    template = resources.files("softflow.pages").joinpath("page.html").read_text(encoding="utf-8")
    title = escape(f"{_name(record)} · softflow")
    page = Template(template).substitute(title=title, body="\n".join(filter(None, sections)))
    path = record.path / "report.html"
    write_bytes(path, page.encode())
    return path


def _header(record: RunRecord) -> str:
    headline, under = _headline(record)
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in _facts(record)
    )
    return (
        f'<header><h1>{escape(_name(record))}</h1><p class="headline">{headline}</p>'
        f'<p class="under">{escape(under)}</p><dl class="facts">{facts}</dl>'
        f"{_missing(record)}</header>"
    )


def _name(record: RunRecord) -> str:
    env_id = record.rollouts.spec.env_id if record.rollouts else find_key(record.config, "env_id")
    run = record.path.resolve().name
    return f"{env_id} · {run}" if env_id else run


def _headline(record: RunRecord) -> tuple[str, str]:
    """The result in one sentence (HTML), and what qualifies it (text)."""
    finals = [e for stage in STAGES if (e := record.final(stage))]
    if not finals and not record.measures_success():
        return _without_success_rate(record)
    if not finals:
        return "Nothing has been evaluated yet.", "The first evaluation follows imitation."
    first, last = finals[0], finals[-1]
    sentence = f"{STAGES[first.stage]} succeeds in {_rate(first)} of episodes."
    if len(finals) == 1:
        under = f"95 % interval {interval_text(first)}, {first.num_episodes} evaluation episodes."
        return sentence, under
    sentence += f" After {escape(_spent(record, last))}, the policy succeeds in {_rate(last)}."
    apart = last.interval_low > first.interval_high or last.interval_high < first.interval_low
    verdict = "they do not overlap" if apart else "they overlap, so this may be chance"
    count = f"{first.num_episodes} and {last.num_episodes} evaluation episodes"
    if first.num_episodes == last.num_episodes:
        count = f"{first.num_episodes} evaluation episodes each"
    under = f"95 % intervals {interval_text(first)} and {interval_text(last)}: {verdict}. {count}."
    return sentence, under


def _without_success_rate(record: RunRecord) -> tuple[str, str]:
    """Why no episode was run, and what is known instead."""
    why = "its data names no environment" if not find_key(record.config, "env_id") else "not asked"
    bits = [
        (STAGES[d.stage], d.numbers["held_out_bits_per_dim"])
        for d in record.diagnostics
        if d.stage in STAGES and "held_out_bits_per_dim" in d.numbers
    ]
    under = "No demonstration is held out of training to measure likelihood on."
    if bits:
        each = ", ".join(f"{number(value)} after {stage}" for stage, value in bits)
        under = f"Bits per dimension on held-out demonstrations, lower is better: {each}."
    return f"Success is not measured: {why}.", under


def _rate(evaluation: Evaluation) -> str:
    return f'<b class="{escape(evaluation.stage)}">{percent(evaluation.success_rate)}</b>'


def _spent(record: RunRecord, evaluation: Evaluation) -> str:
    """What the policy cost: online episodes, robot steps and, if known, the robot's time."""
    if not evaluation.online_episodes:
        return f"{STAGES[evaluation.stage]}, without any robot time"
    steps = f"{evaluation.online_episodes} online episodes, {evaluation.robot_steps:,} robot steps"
    rollouts = record.rollouts
    hz = rollouts.spec.control_hz if rollouts else find_key(record.config, "control_hz")
    if isinstance(hz, int | float) and hz > 0:
        steps += f" ({duration(evaluation.robot_steps / hz)})"
    return steps


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


def _success(record: RunRecord) -> str:
    figures = [f for f in (success_by_stage(record), success_by_robot_steps(record)) if f]
    if not figures:
        return ""
    charts = "".join(figure_html(figure, note_below=True) for figure in figures)
    return f'<h2>Success</h2><div class="grid two">{charts}</div>{_evaluation_table(record)}'


def _evaluation_table(record: RunRecord) -> str:
    columns = {
        "Evaluation": lambda e: f'<b class="{escape(e.stage)}">{escape(e.label)}</b>',
        "Success": lambda e: percent(e.success_rate),
        "95 % interval": interval_text,
        "Episodes": lambda e: f"{e.num_episodes:,}",
        "Mean steps to success": _mean_length,
        "Online episodes": lambda e: f"{e.online_episodes:,}",
        "Robot steps": lambda e: f"{e.robot_steps:,}",
        "Updates": lambda e: f"{e.update_step:,}",
        "Time": lambda e: duration(e.wall_time_s),
    }
    rows = [[cell(e) for cell in columns.values()] for e in record.evaluations]
    return details_html("All evaluations", str(len(rows)), table_html(list(columns), rows))


def _mean_length(evaluation: Evaluation) -> str:
    lengths = [episode.length for episode in evaluation.episodes if episode.success]
    return f"{sum(lengths) / len(lengths):.0f}" if lengths else "–"


def _videos(record: RunRecord) -> str:
    videos = [v for stage in STAGES if (v := record.final_video(stage))]
    if not videos:
        return ""
    return f'<h2>Rollouts</h2><div class="grid four">{"".join(map(_video, videos))}</div>'


def _video(video: Video) -> str:
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
        f"{_outcome(video)}</figcaption></figure>"
    )


def _outcome(video: Video) -> str:
    episode = video.episode
    if "success" not in episode:
        return "outcome not recorded"
    words = "✓ success" if episode["success"] else "✗ failure"
    if "length" in episode:
        words += f", {int(episode['length']):,} steps"
    seed = f" · seed {escape(str(episode['seed']))}" if "seed" in episode else ""
    return f'<span class="outcome">{words}</span>{seed}'


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
    charts = f'<div class="grid {"two" if calibration else "four"}">{trends}</div>'
    if calibration:
        scatter = figure_html(calibration, note_below=True)
        charts = f'<div class="grid calibrated">{scatter}{charts}</div>'
    names = list(dict.fromkeys(name for d in record.diagnostics for name in d.numbers))
    head = ["Diagnostic", *(d.label for d in record.diagnostics)]
    rows = [
        [escape(name), *(number(d.numbers.get(name)) for d in record.diagnostics)] for name in names
    ]
    numbers = details_html("As numbers", str(len(rows)), table_html(head, rows))
    return f"<h2>Diagnostics</h2>{charts}{numbers}"


def _episodes(record: RunRecord) -> str:
    """Every evaluation episode: seeds down, stages across, so that equal starts are compared."""
    finals = [e for stage in STAGES if (e := record.final(stage)) and e.episodes]
    if not finals:
        return ""
    by_seed = [{episode.seed: episode for episode in e.episodes} for e in finals]
    seeds = list(dict.fromkeys(seed for episodes in by_seed for seed in episodes))
    rows = [[str(seed)] for seed in seeds]
    for episodes in by_seed:
        for seed, row in zip(seeds, rows, strict=True):
            episode = episodes.get(seed)
            if episode is None:
                row.append("–")
            elif episode.success:
                row.append(f"✓ {episode.length}")
            else:
                row.append(f'<span class="no">✗ {episode.length}</span>')
    table = table_html(["Seed", *(e.label for e in finals)], rows)
    note = '<p class="note">✓ success, ✗ failure, with the number of control steps.</p>'
    found = details_html("Every evaluation episode", f"{len(seeds)} seeds", note + table)
    return f"<h2>Episodes</h2>{found}"


def _reproduce(record: RunRecord) -> str:
    command = find_key(record.versions, "command") or find_key(record.config, "command")
    if isinstance(command, list):
        command = shlex.join(map(str, command))
    shown = '<p class="note">The run folder does not record its command.</p>'
    if command:
        shown = f"<pre>{escape(str(command))}</pre>"
    trees = (("Configuration", record.config), ("Versions", record.versions))
    values = "".join(
        tree_html(title, {key: value for key, value in tree.items() if key != "command"})
        for title, tree in trees
    )
    return f"<h2>Reproduce</h2>{shown}{values}"
