"""Copy episodes of some stores into a new one, labels included: merge and filter.

Sealed files are copied as they are: arrays stay identical to the bit, unless frames are to be
stored in another way. A copy knows where it came from (metadata `COPIED_FROM`), which is how an
interrupted copy finds out what is there already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softflow.curation.stored_frames import storage_of
from softflow.data.action_space import or_another_name
from softflow.data.data_spec import DataSpec, within_the_same_bounds
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.frame_storage import EXACT, FrameStorage
from softflow.data.labels import EVENT_KINDS_FILE, Label
from softflow.data.metadata import metadata_value
from softflow.errors import DataError, StoreError
from softflow.utils.files import is_there, require_regular, write_bytes

COPIED_FROM = "copied_from"
"""Metadata key: the places an episode came from, the newest last, each {"store", "episode"}."""

Origin = tuple[str, str]
"""Folder of the store an episode was copied from, and the name of its file there."""

OnCopied = Callable[[int], None]
"""Called with the number of episodes that are safely there."""


@dataclass(frozen=True)
class Copied:
    """What a copy did.

    Args:
        copied: episodes written now.
        there: episodes that an earlier run of the same command had written.
        labels: labels carried over now.
    """

    copied: int
    there: int
    labels: int


def common_spec(stores: Sequence[EpisodeStore]) -> DataSpec:
    """What a merged store holds: the first store's spec, with the names and environment of all.

    Bounds of the actions are the widest of all stores: importers take them from the data where the
    format has none, so two recordings of one robot rarely agree.

    Raises:
        DataError: two stores hold different data; names each differing field.
    """
    common = stores[0].spec
    lines: list[str] = []
    renamed = ""
    for store in stores[1:]:
        common, spec = within_the_same_bounds(common, store.spec)
        differences = common.differences(spec)
        if differences:
            renamed = renamed or or_another_name(store.path, spec, common)
        lines += [f"'{stores[0].path}' and '{store.path}': {line}" for line in differences]
        if not differences:
            names = {**store.spec.names, **common.names}
            common = replace(common, names=names, env_id=common.env_id or store.spec.env_id)
    if lines:
        raise DataError(
            "these stores hold different data, which one store cannot:\n  "
            + "\n  ".join(lines)
            + "\nMerge those that fit, or import their sources again with equal keys and rates."
            + renamed
        )
    return common


def merge(
    stores: Sequence[EpisodeStore],
    out: Path,
    on_copied: OnCopied = lambda done: None,
    frames: FrameStorage | None = None,
) -> Copied:
    """Copy every episode of `stores`, in order, into one store; goes on where it was stopped.

    Args:
        stores: the sources.
        out: folder of the new store.
        on_copied: told after every episode.
        frames: how those of cameras are to be stored; None leaves them as they are.

    Raises:
        DataError: they do not fit together, one is named twice, an episode is unusable, or `out`
            holds other episodes.
        StoreError: a file cannot be read or written.
    """
    paths = [str(store.path.resolve()) for store in stores]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if not stores or twice:
        raise DataError(
            f"name each store to merge once; {f'{twice[0]} twice' if twice else 'none'}"
        )
    selection = [(store, index) for store in stores for index in range(len(store))]
    return copy_episodes(selection, out, common_spec(stores), on_copied, frames)


def copy_episodes(
    selection: Sequence[tuple[EpisodeStore, int]],
    out: Path,
    spec: DataSpec,
    on_copied: OnCopied = lambda done: None,
    frames: FrameStorage | None = None,
) -> Copied:
    """Copy (store, index) pairs with their labels; one episode is in memory at a time.

    Frames are stored as `merge` is told.

    Raises:
        DataError, StoreError: as `merge`.
    """
    if any(store.path.resolve() == out.resolve() for store, _ in selection):
        raise DataError(f"'{out}' is one of the sources; choose a new folder")
    origins = [_origin(store, index) for store, index in selection]
    stores = {store.path: store for store, _ in selection}.values()
    kept = frames or _common_frames(stores)
    with EpisodeStore.open_or_create(out, spec, kept) as target:
        there = _there(target, origins)
        before, labels = len(there), 0
        _carry_event_kinds([store.path for store, _ in selection], target.path)
        for done, ((store, index), origin) in enumerate(zip(selection, origins, strict=True), 1):
            if origin not in there:
                there[origin] = _copy(store, index, origin, target, anew=frames is not None)
            labels += _carry_labels(store.labels(index), target, there[origin])
            on_copied(done)
    return Copied(len(there) - before, before, labels)


def _common_frames(stores: Iterable[EpisodeStore]) -> FrameStorage:
    """How these stores keep frames, if all do in one way."""
    found = {store.frames for store in stores}
    return found.pop() if len(found) == 1 else EXACT


def _origin(store: EpisodeStore, index: int) -> Origin:
    return str(store.path.resolve()), store.episode_path(index).name.partition(".")[0]


def _there(target: EpisodeStore, origins: Sequence[Origin]) -> dict[Origin, int]:
    """Where in the target each origin is already; refuses episodes of other origins."""
    wanted, there = set(origins), dict[Origin, int]()
    for summary in target.summaries():
        where = f"episode {summary.index} of '{target.path}'"
        last = (_origins_of(summary.metadata, where) or [{}])[-1]
        origin = str(last.get("store")), str(last.get("episode"))
        if origin not in wanted:
            place = "recorded there" if not last else f"{origin[1]} of '{origin[0]}'"
            raise DataError(
                f"'{target.path}' holds other episodes already (episode {summary.index}: {place}); "
                "choose a new folder"
            )
        there[origin] = summary.index
    return there


def _origins_of(metadata: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """From where to where an episode was copied, the last place last."""
    return metadata_value(metadata, COPIED_FROM, list[dict[str, Any]], [], where)


def _copy(store: EpisodeStore, index: int, origin: Origin, target: EpisodeStore, anew: bool) -> int:
    """Append an episode as it was recorded, with its origin; returns its new index.

    With `anew`, its frames are stored as the target stores them.
    """
    place = {"store": origin[0], "episode": origin[1]}

    def told(before: dict[str, Any]) -> dict[str, Any]:
        return {**before, COPIED_FROM: [*_origins_of(before, str(store.path)), place]}

    try:
        if anew and storage_of(store.summary(index)) != target.frames:
            episode = store.episode(index, labelled=False)
            return target.append(replace(episode, metadata=told(episode.metadata)))
        return target.append_copy(store.episode_path(index), told)
    except DataError as error:
        raise DataError(
            f"'{store.path}', episode {index}: {error} (softflow data filter --drop-invalid leaves "
            "such episodes out)"
        ) from error


def _carry_event_kinds(sources: Sequence[Path], target: Path) -> None:
    """Give a copy what its first original declares of events; a copy that declares keeps its own.

    Raises:
        StoreError: the file cannot be read or written.
    """
    declared = dict.fromkeys(path / EVENT_KINDS_FILE for path in sources)
    found = next(filter(is_there, declared), None)
    if found is None or is_there(target / EVENT_KINDS_FILE):
        return
    require_regular(found)
    try:
        content = found.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read '{found}': {error.strerror}; make it readable") from error
    write_bytes(target / EVENT_KINDS_FILE, content)


def _carry_labels(history: list[Label], target: EpisodeStore, index: int) -> int:
    """Give a copy the labels of its original that it lacks; how many those were.

    A copy that was labelled anew since then keeps its own.
    """
    own = target.labels(index)
    if own != history[: len(own)]:
        return 0
    for label in history[len(own) :]:
        target.label(index, label)
    return len(history) - len(own)
