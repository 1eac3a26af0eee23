"""What `softflow data validate` does, and how other commands find the problems of a store."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from softflow.cli.data.store_options import Validate
from softflow.cli.words import print_some
from softflow.curation.episode_checks import CheckSettings
from softflow.curation.problems import Problem, alike_together, verdict
from softflow.curation.rate_limits import parse_max_rates
from softflow.curation.validation import require_checks, store_rates, validate_store
from softflow.data.episode_store import EpisodeStore
from softflow.jobs.opening import open_store
from softflow.jobs.targets import require_result_file
from softflow.utils.console import say
from softflow.utils.files import write_json
from softflow.utils.progress import ConsoleProgress


def progress_beside() -> ConsoleProgress:
    """Progress beside the output, so that this can be piped."""
    return ConsoleProgress(Console(stderr=True))


def validate(options: Validate) -> int:
    """Print, and write, every problem; 1 if there are errors."""
    store = open_store(options.store)
    settings = CheckSettings(
        max_rate=parse_max_rates(options.max_rate, store.spec),
        frozen_s=options.frozen_s,
        idle_s=options.idle_s,
        min_length=options.min_length,
        ignore=frozenset(options.ignore),
    )
    require_checks(settings.ignore)
    if options.json is not None:
        require_result_file(options.json, "--json", b"[")
    with progress_beside() as progress:
        problems = problems_of(store, settings, options.usual_sigmas, progress)
    problems.sort(key=lambda problem: problem.severity)
    print_some(alike_together(problems), options.show, "--show, --json")
    say(verdict(problems, len(store)))
    if options.json is not None:
        write_json(options.json, [problem.to_json() for problem in problems])
    bad = any(problem.severity == "error" or options.strict for problem in problems)
    return 1 if bad else 0


def problems_of(
    store: EpisodeStore, settings: CheckSettings, sigmas: float, progress: ConsoleProgress
) -> list[Problem]:
    """Every problem of a store; usual rates of change are its own, with `sigmas` above 0."""
    advance = progress.advance
    if sigmas > 0 and "jump" not in settings.ignore:
        progress.begin("usual rates", len(store))
        rates = store_rates(store, sigmas, lambda done: advance(done))
        settings = replace(settings, usual_rate=rates)
    progress.begin("validate", len(store))
    found = validate_store(store, settings, sigmas=0, on_progress=lambda done: advance(done))
    return list(found)
