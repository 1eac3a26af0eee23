"""What each `softflow data` command does.

A new command is a class of `store_options`, a function and a line in `COMMANDS`; what needs an
optional package is imported in the function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from softflow.cli.data.action_bounds import set_bounds
from softflow.cli.data.checking import progress_beside, validate
from softflow.cli.data.copying import filter_store, merge
from softflow.cli.data.format_commands import (
    EXPORTS,
    IMPORTS,
    needed_packages,
    run_export,
    run_import,
)
from softflow.cli.data.label_options import Agreement, Propose
from softflow.cli.data.new_store import require_new_store_named
from softflow.cli.data.proposing import agreement, propose
from softflow.cli.data.store_options import (
    Bounds,
    Filter,
    Inspect,
    Merge,
    Plot,
    Relabel,
    Render,
    Stats,
    Validate,
)
from softflow.cli.option_types import parsed
from softflow.cli.words import (
    asks_for_help,
    first_line,
    overview,
    print_some,
    require_command,
)
from softflow.curation.conditions import parse_condition
from softflow.curation.relabelling import (
    labels_by_rule,
    labels_without,
    last_step_of,
    plan,
    read_label_table,
    successes_at_end,
    withdrawn_labels,
    write_changes,
)
from softflow.curation.summary_statistics import key_statistics
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Label
from softflow.errors import ConfigError
from softflow.jobs.opening import open_store
from softflow.jobs.targets import require_result_file, require_store_folder
from softflow.pages.data_tables import (
    episode_details,
    episode_numbers,
    episode_numbers_table,
    episode_table,
    statistics_json,
    statistics_tables,
    store_overview,
)
from softflow.utils.console import say
from softflow.utils.files import real_path, write_json
from softflow.utils.progress import ConsoleProgress


def run(words: list[str]) -> int:
    """Parse the words after `softflow data` and do it; returns the exit status.

    Raises:
        ConfigError: no such command.
    """
    if asks_for_help(words):
        does = {
            "import FORMAT": f"Read {', '.join(IMPORTS)} into an episode store.",
            "export FORMAT": f"Write an episode store as {' or '.join(EXPORTS)}.",
            **{name: first_line(options) for name, (options, _) in COMMANDS.items()},
        }
        say(overview("softflow data", "bring in, look into, check and prepare episodes", does))
        return 0
    name, rest = words[0], words[1:]
    require_command(name, (*FORMAT_COMMANDS, *COMMANDS), "data ")
    try:
        if name in FORMAT_COMMANDS:
            return FORMAT_COMMANDS[name](rest)
        options, do = COMMANDS[name]
        require_new_store_named(name, rest)
        return do(parsed(options, f"softflow data {name}", rest)) or 0
    except KeyboardInterrupt:
        say(f"\nStopped. {_AFTER_A_STOP.get(name, _NOTHING_WRITTEN)}", to_errors=True)
        return 130


def inspect(options: Inspect) -> None:
    """Print tables."""
    store = open_store(options.store)
    if options.episode is not None:
        say(episode_details(store, options.episode))
        return
    say(store_overview(store))
    if options.episodes and len(store):
        say(f"\n{episode_table(store)}")


def stats(options: Stats) -> None:
    """Print, and write, statistics."""
    store = open_store(options.store)
    if options.json is not None:
        require_result_file(options.json, "--json", b'{\n  "episodes"')
    with progress_beside() as progress:
        progress.begin("read", len(store))
        statistics = key_statistics(
            _episodes(store, options.images, progress), store.spec, options.images
        )
    if not statistics:
        say(f"{store.path} holds no episodes")
        return
    numbers = episode_numbers(store.summaries())
    say(episode_numbers_table(numbers))
    for table in statistics_tables(statistics):
        say(f"\n{table}")
    if options.json is not None:
        write_json(options.json, {**numbers, "keys": statistics_json(statistics)})


def _episodes(
    store: EpisodeStore, with_images: bool, progress: ConsoleProgress
) -> Iterator[Episode]:
    for index in range(len(store)):
        yield store.episode(index, with_images=with_images)
        progress.advance(index + 1)


def relabel(options: Relabel) -> None:
    """Show what changes, and write it if asked."""
    store = open_store(options.store)
    with progress_beside() as progress:
        changes = plan(store, _labels(options, store, progress))
        before = sum(summary.success for summary in store.summaries())
        print_some(changes, options.show, "--show")
        if options.write and changes:
            progress.begin("write", len(changes))
            advance = progress.advance
            write_changes(store, changes, lambda done: advance(done))
    after = before + sum(int(c.after.success) - int(c.before.success) for c in changes)
    done = "written" if options.write else "to write; --write does it"
    say(f"{len(changes)} labels {done}")
    if changes:
        say(f"successes of {len(store)} episodes: {before} before, {after} with these labels")


def _labels(options: Relabel, store: EpisodeStore, progress: ConsoleProgress) -> dict[int, Label]:
    """The labels asked for.

    Raises:
        ConfigError: not exactly one way was chosen.
    """
    by_rule = options.success_when is not None or options.failure_when is not None
    ways = (options.table is not None, by_rule, options.success_at_end, options.undo is not None)
    if sum(ways) + options.clear != 1:
        raise ConfigError(
            "say what to label by one of --table FILE, --success-when or --failure-when, "
            "--success-at-end, --undo ANNOTATOR, --clear"
        )
    if options.table is not None:
        if options.episodes:
            raise ConfigError("--table names its episodes; leave --episodes out, or those rows")
        return read_label_table(options.table, options.annotator, last_step_of(store))
    indices = options.episodes or range(len(store))
    if options.clear:
        return withdrawn_labels(store, indices, options.annotator or "softflow data relabel")
    if options.undo is not None:
        return labels_without(store, indices, options.undo)
    if options.success_at_end:
        return successes_at_end(store, indices, options.annotator, options.reward)
    return _labels_by_rule(options, store, _counted(indices, progress))


def _counted(indices: Sequence[int], progress: ConsoleProgress) -> Iterator[int]:
    progress.begin("read", len(indices))
    for done, index in enumerate(indices, 1):
        yield index
        progress.advance(done)


def _labels_by_rule(
    options: Relabel, store: EpisodeStore, indices: Iterable[int]
) -> dict[int, Label]:
    texts = {"success when": options.success_when, "failure when": options.failure_when}
    rule = ", ".join(f"{name} {text}" for name, text in texts.items() if text is not None)
    success, failure = (
        parse_condition(text, store.spec) if text is not None else None for text in texts.values()
    )
    return labels_by_rule(
        store,
        indices,
        options.annotator or rule,
        success_when=success,
        failure_when=failure,
        hold_s=options.hold_s,
        reward=options.reward,
    )


def plot(options: Plot) -> None:
    """Write the page."""
    from softflow.pages.data_page import write_page

    store = open_store(options.store)
    seen = _network_section(options, store)
    folder = real_path(options.store)
    out = options.out or folder.with_name(f"{folder.name}.html")
    require_result_file(out, "--out", b"<!doctype html>")
    with progress_beside() as progress:
        say(f"page: {write_page(store, out, options.lags, progress, seen)}")


def _network_section(options: Plot, store: EpisodeStore) -> str:
    """What the networks of the preset that was asked for see; torch is loaded for it alone."""
    if not options.preset:
        if options.shift or options.colour_jitter:
            raise ConfigError("--shift and --colour-jitter need --preset: whose networks look?")
        return ""
    from softflow.cli.data.network_views import network_views
    from softflow.pages.network_views import section_of

    views = network_views(store, options.preset, options.shift, options.colour_jitter)
    return section_of(views, options.preset)


def render(options: Render) -> None:
    """Fill a store with what the environment shows, and say how well it fits what was recorded."""
    from softflow.cli.data.rendering import proof, rendered_source

    require_store_folder(options.out, "OUT")
    with needed_packages(), progress_beside() as progress, rendered_source(options) as source:
        from softflow.formats.importing import import_into

        options_told = {"whole": True} if options.whole else {}
        number = import_into(
            source,
            options.out,
            progress,
            skip_bad=options.skip_bad,
            options=options_told,
            doing="render",
            frames=options.frame_storage,
        )
    store = EpisodeStore.open(options.out)
    successes = sum(summary.success for summary in store.summaries())
    say(f"{options.out}: {number} episodes rendered, {len(store)} in all, {successes} successful")
    if number:
        say(proof(source))


COMMANDS: dict[str, tuple[type, Callable[[Any], int | None]]] = {
    "inspect": (Inspect, inspect),
    "validate": (Validate, validate),
    "stats": (Stats, stats),
    "merge": (Merge, merge),
    "filter": (Filter, filter_store),
    "relabel": (Relabel, relabel),
    "propose": (Propose, propose),
    "agreement": (Agreement, agreement),
    "bounds": (Bounds, set_bounds),
    "plot": (Plot, plot),
    "render": (Render, render),
}
"""Every command but two: its options and what does it."""

_NOTHING_WRITTEN = "Nothing was written."
_GOES_ON = "What was copied is there, whole; the same command goes on from it."
_AFTER_A_STOP = {
    "import": _GOES_ON,
    "merge": _GOES_ON,
    "filter": _GOES_ON,
    "render": _GOES_ON,
    "relabel": "Labels written so far count; the same command writes those that are missing.",
    "propose": "Proposals written so far are there; the same command begins anew.",
}

FORMAT_COMMANDS = {"import": run_import, "export": run_export}
"""The two that need a format next."""
