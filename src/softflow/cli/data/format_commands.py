"""What `softflow data import FORMAT` and `softflow data export FORMAT` do.

A new format is a class of `format_options`, and a function and a line in `format_sources` (import)
or here (export). Each imports its own packages: one needs only those of the formats one has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from softflow.cli.data.action_bounds import bounds_at_import, environment_spec
from softflow.cli.data.format_options import ExportLerobot, ExportRobomimic, Import, ImportRosbag
from softflow.cli.data.format_sources import IMPORTS
from softflow.cli.option_types import parsed
from softflow.cli.words import (
    asks_for_help,
    first_line,
    overview,
    print_some,
    require_command,
)
from softflow.curation.episode_checks import CheckSettings
from softflow.curation.problems import Problem, alike_together, verdict
from softflow.curation.rate_limits import USUAL_SIGMAS
from softflow.curation.stored_frames import frames_to_expect, frames_told
from softflow.curation.validation import source_rates, validate_source
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.frame_storage import EXACT, FrameStorage
from softflow.data.labels import outcome_known, vouch
from softflow.envs.robomimic import ROBOMIMIC_FAMILIES
from softflow.errors import ConfigError, DataError, SoftflowError
from softflow.formats.source import Source
from softflow.jobs.targets import require_outside_stores, require_store_folder
from softflow.utils.console import say
from softflow.utils.progress import ConsoleProgress, SilentProgress

Function = TypeVar("Function")
PROBLEMS_SHOWN = 100


def run_import(words: list[str]) -> int:
    """Parse the words after `softflow data import` and do it; returns the exit status."""
    chosen = _chosen("import", "read foreign data into an episode store", words, IMPORTS)
    if chosen is None:
        return 0
    options, open_source = chosen
    with needed_packages(), ConsoleProgress(Console(stderr=True)) as progress:
        if isinstance(options, ImportRosbag) and (told := _looked_at(options, progress)):
            say(told)
            return 0
        if options.check:
            return _check(_opened(open_source, options, progress, words[0]), options, progress)
        if options.out is None:
            raise ConfigError("give --out, the episode store to fill, or --check to import nothing")
        require_store_folder(options.out, "--out")
        source = _opened(open_source, options, progress, words[0])
        tell_contents(source)
        again = partial(open_source, options, SilentProgress())
        line = _import(source, options, options.out, progress, again)
    say(line)
    return 0


def _looked_at(options: ImportRosbag, progress: ConsoleProgress) -> str:
    """What is to be said of bags instead of importing them; "" where they are to be imported."""
    from softflow.cli.data.bag_reports import recording_reports, write_mapping

    if options.write_mapping is not None:
        return write_mapping(options, options.write_mapping)
    return recording_reports(options, progress) if options.report else ""


def _chosen(
    verb: str, what: str, words: list[str], formats: Mapping[str, tuple[type[Any], Function]]
) -> tuple[Any, Function] | None:
    """The options of the format that the words name, and its function; None if help was asked."""
    prog = f"softflow data {verb}"
    if asks_for_help(words):
        lines = {name: first_line(options) for name, (options, _) in formats.items()}
        say(overview(prog, what, lines))
        return None
    require_command(words[0], formats, f"data {verb} ")
    kind, function = formats[words[0]]
    return parsed(kind, f"{prog} {words[0]}", words[1:]), function


def _opened(
    open_source: Callable[[Any, ConsoleProgress], Source],
    options: Import,
    progress: ConsoleProgress,
    asked: str,
) -> Source:
    """The dataset; a path that is of another format says of which.

    Raises:
        DataError: it cannot be opened, with what to do instead where the path tells.
    """
    from softflow.formats.recognising import advice

    if not options.path.exists():
        raise DataError(f"there is no {options.path}; check the path")
    try:
        return open_source(options, progress)
    except DataError as error:
        if hint := advice(options.path, asked):
            raise DataError(f"{error}\n{hint}") from error
        raise


def tell_contents(source: Source) -> None:
    """Print what of a dataset is taken, and what is not."""
    from softflow.formats.contents import told_contents

    for line in told_contents(source):
        say(line)


def _import(
    source: Source,
    options: Import,
    out: Path,
    progress: ConsoleProgress,
    open_again: Callable[[], Source],
) -> str:
    """Fill the store; what came of it."""
    from softflow.formats.importing import import_into

    number = import_into(
        source,
        out,
        progress,
        env_id=options.env_id,
        unlabelled=options.unlabelled,
        skip_bad=options.skip_bad,
        image_size=options.image_size,
        actions=bounds_at_import(options),
        episodes=options.episodes,
        options=_telling_options(options, source),
        open_again=open_again,
        jobs=options.jobs,
        frames=options.frame_storage,
    )
    store = EpisodeStore.open(out)
    told = _imported_line(store, out, number) + _bounds(store.spec, options)
    told += "".join(
        f"\nframes: {line}" for line in [*frames_told(store), *_lost_twice(store, source)]
    )
    return told + _misfit(store.spec, options.env_id) + _next(store, out)


def _lost_twice(store: EpisodeStore, source: Source) -> list[str]:
    """What a source that is compressed with a loss already means for how its frames are stored."""
    from softflow.formats.contents import lossy_cameras

    if not (lossy := lossy_cameras(source)):
        return []
    told = ", ".join(f"{camera} ({kind})" for camera, kind in lossy.items())
    if store.frames.is_lossy:
        return [f"the source has a loss of its own, to which this one is added: {told}"]
    return [
        f"exact frames keep what decoding {told} gave, in several times the space of the source; "
        "--frames jpeg keeps less"
    ]


def _bounds(spec: DataSpec, options: Import) -> str:
    """What bounds the actions have now, and how to give others where nobody gave any."""
    low, high = min(spec.action_low), max(spec.action_high)
    line = f"\naction bounds: {low:.4g} to {high:.4g} over all components"
    if options.env_id or options.action_low or options.action_high:
        return line
    return (
        f"{line}, which no policy leaves; the range of the recordings, unless the format tells "
        "others: --action-low and --action-high give those of the robot"
    )


def _misfit(spec: DataSpec, env_id: str) -> str:
    """A warning where data are not what the environment named for them gives; else ""."""
    if not env_id:
        return ""
    try:
        theirs = environment_spec(env_id, spec.image_size)
    except SoftflowError:
        return ""  # told where its bounds were asked for
    if not (lines := [line for line in spec.differences(theirs) if "action_" not in line]):
        return ""
    remedy = (
        "choose what is imported (--state-keys, --cameras, --image-size), or mend the environment "
        f"(control_hz, keys) and say softflow data bounds STORE --env-id {env_id} --replace-env"
    )
    if env_id in ROBOMIMIC_FAMILIES:
        remedy += ", or let softflow see it again (softflow data render)"
    return (
        f"\ncareful: '{env_id}' gives other observations than these data, so a policy trained on "
        "them could not act there; the data first, then the environment:\n  "
        + "\n  ".join(lines)
        + f"\n{remedy}"
    )


def _telling_options(options: Import, source: Any) -> dict[str, Any]:
    """Those that change what an episode holds, and nothing that the store's spec would show."""
    if isinstance(options, ImportRosbag):
        return {"mapping": f"of fingerprint {source.mapping.fingerprint}"}
    names = ("whole", "max_episode_steps", "swap_red_blue")
    return {name: value for name in names if (value := getattr(options, name, None))}


def _check(source: Source, options: Import, progress: ConsoleProgress) -> int:
    """Print every problem of foreign data as it would be imported; 1 if there are errors."""
    from softflow.formats.prepared import Prepared

    tell_contents(source)
    prepared = Prepared(
        source,
        env_id=options.env_id,
        unlabelled=options.unlabelled,
        image_size=options.image_size,
        actions=bounds_at_import(options),
        episodes=options.episodes,
    )
    count, advance = len(prepared.episodes()), progress.advance
    progress.begin("usual rates", count)
    rates = source_rates(prepared, USUAL_SIGMAS, lambda done: advance(done))
    if told := _expected_frames(prepared, options.frame_storage):
        say(f"frames: {told}")
    progress.begin("check", count)
    settings = CheckSettings(usual_rate=rates)
    found = validate_source(prepared, settings, sigmas=0, on_progress=lambda done: advance(done))
    found = [*found, *(Problem("warning", "odd", "", line) for line in prepared.oddities())]
    problems = sorted(found, key=lambda problem: problem.severity)
    print_some(alike_together(problems), PROBLEMS_SHOWN)
    say(f"{options.path}: {verdict(problems, count)}{_misfit(prepared.spec, options.env_id)}")
    return int(any(problem.severity == "error" for problem in problems))


def _expected_frames(source: Source, frames: FrameStorage | None) -> str:
    """What the frames of the first episode that can be read would take, and lose."""
    for name in source.episodes():
        with suppress(DataError):
            told = frames_to_expect(source.read(name), frames or EXACT)
            return f"{name}, {told}" if told else ""
    return ""


def run_export(words: list[str]) -> int:
    """Parse the words after `softflow data export` and do it; returns the exit status."""
    chosen = _chosen("export", "write an episode store in a foreign format", words, EXPORTS)
    if chosen is None:
        return 0
    options, write = chosen
    store = EpisodeStore.open(options.store)
    require_outside_stores(options.out.parent, "OUT", options.out)
    with needed_packages(), ConsoleProgress(Console(stderr=True)) as progress:
        write(options, store, progress)
    say(f"{options.out}: {len(store)} episodes")
    return 0


def _imported_line(store: EpisodeStore, out: Path, number: int) -> str:
    """What came of it."""
    from softflow.formats.robomimic.observations import SIMULATOR_NAME

    summaries = store.summaries()
    successes = sum(summary.success for summary in summaries)
    unlabelled = [summary for summary in summaries if not outcome_known(summary.metadata)]
    earned = sum(summary.return_ != 0 for summary in unlabelled)
    unknown = len(unlabelled)
    line = f"{out}: {number} episodes imported, {len(store)} in all, {successes} successful"
    if earned:
        line += (
            f"\n{unknown} say nothing of success, {earned} of them have rewards, which are kept; "
            "imitation learns from successes only: if they are demonstrations, import them with "
            "--unlabelled success (softflow data relabel would replace their rewards)"
        )
    elif unknown:
        line += (
            f"\n{unknown} say nothing of success, and imitation learns from successes only; if "
            f"they are demonstrations:\n      {vouch(out)}\n"
            "if some failed, say which in a table (--table FILE instead of --success-at-end), or "
            f"mark them in a browser:\n      softflow label {out}"
        )
    elif not successes:
        line += "\nimitation learns from successes only: add episodes, or softflow data relabel"
    if f"{SIMULATOR_NAME}.0" in store.spec.names.get(STATE_KEY, ()):
        line += (
            "\nthis file has no observations: the state is the simulator's own, which no robot "
            "sees; robomimic's dataset_states_to_obs.py extracts observations"
        )
    return line


def _next(store: EpisodeStore, out: Path) -> str:
    """The command that learns from it; "" where imitation would have nothing to learn from."""
    if not any(summary.success for summary in store.summaries()):
        return ""
    fitting = "small-image" if store.spec.image_keys else "softflow-plus"
    # What is named by an import path runs code, so the user names it again.
    named = f" --env {store.spec.env_id}" if ":" in store.spec.env_id else ""
    command = f"softflow train {fitting} --dataset {out} --run runs/{out.name} --stages imitation"
    return f"\nnext: {command}{named}"


def _to_lerobot(options: ExportLerobot, store: EpisodeStore, progress: ConsoleProgress) -> None:
    from softflow.formats.lerobot.export import export_lerobot

    export_lerobot(
        store,
        options.out,
        progress,
        cameras_as=options.cameras_as,
        robot_type=options.robot_type,
        version=options.format_version,
    )


def _to_robomimic(options: ExportRobomimic, store: EpisodeStore, progress: ConsoleProgress) -> None:
    from softflow.formats.robomimic.export import export_robomimic

    export_robomimic(store, options.out, progress)


@contextmanager
def needed_packages() -> Iterator[None]:
    """A missing package becomes an error that says how to install it.

    Raises:
        ConfigError: a package of the extra `formats` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"this format needs the package '{error.name}'; install it with "
            "pip install 'softflow[formats]'"
        ) from error


EXPORTS: dict[str, tuple[type, Callable[[Any, EpisodeStore, ConsoleProgress], None]]] = {
    "lerobot": (ExportLerobot, _to_lerobot),
    "robomimic": (ExportRobomimic, _to_robomimic),
}
