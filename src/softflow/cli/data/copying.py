"""What `softflow data merge` and `softflow data filter` do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from softflow.cli.data.checking import problems_of, progress_beside
from softflow.cli.data.store_options import Filter, Merge
from softflow.curation.copying import Copied, copy_episodes
from softflow.curation.copying import merge as merge_stores
from softflow.curation.episode_checks import CheckSettings
from softflow.curation.selection import Rules, decide, parse_where
from softflow.curation.stored_frames import frames_told
from softflow.data.episode_store import EpisodeStore
from softflow.jobs.opening import open_store
from softflow.jobs.targets import require_store_folder
from softflow.utils.console import say
from softflow.utils.progress import ConsoleProgress


def merge(options: Merge) -> None:
    """Copy, and say how much."""
    require_store_folder(options.out, "OUT")
    stores = [open_store(path) for path in options.stores]
    with progress_beside() as progress:
        progress.begin("merge", sum(map(len, stores)))
        advance = progress.advance
        copied = merge_stores(
            stores, options.out, lambda done: advance(done), options.frame_storage
        )
    _tell(copied, options.out)


def _tell(copied: Copied, out: Path) -> None:
    there = f", {copied.there} were there already" if copied.there else ""
    say(f"{out}: {copied.copied} episodes copied{there}, {copied.labels} labels carried over")
    for line in frames_told(EpisodeStore.open(out)):
        say(f"frames: {line}")


def filter_store(options: Filter) -> None:
    """Choose, say why the others are dropped, and copy."""
    store = open_store(options.store)
    require_store_folder(options.out, "OUT")
    rules = Rules(
        success=True if options.success else False if options.failure else None,
        operators=options.operator,
        sources=options.source,
        min_length=options.min_length,
        max_length=options.max_length,
        where=tuple(parse_where(text) for text in options.where),
    )
    with progress_beside() as progress:
        invalid = _invalid(store, progress) if options.drop_invalid else {}
        decided = list(decide(store, rules, invalid))
        kept = [index for index, reasons in decided if not reasons]
        reasons = Counter(reason for _, reasons in decided for reason in reasons)
        say(f"keeping {len(kept)} of {len(store)} episodes")
        for reason, count in reasons.most_common():
            say(f"  {count} dropped: {reason}")
        if options.dry_run or not kept:
            return
        progress.begin("copy", len(kept))
        advance = progress.advance
        selection = [(store, index) for index in kept]
        copied = copy_episodes(
            selection,
            options.out,
            store.spec,
            lambda done: advance(done),
            options.frame_storage,
        )
    _tell(copied, options.out)


def _invalid(store: EpisodeStore, progress: ConsoleProgress) -> dict[int, str]:
    """Episodes with errors, each with the checks that found them."""
    checks: dict[int, list[str]] = {}
    for problem in problems_of(store, CheckSettings(), 0, progress):
        if problem.severity == "error" and problem.episode:
            checks.setdefault(int(problem.episode), []).append(problem.check)
    return {i: f"invalid ({', '.join(dict.fromkeys(names))})" for i, names in checks.items()}
