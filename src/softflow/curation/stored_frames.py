"""How the frames of a store's episodes are kept, and what that cost, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from softflow.data.data_spec import is_image_key
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore, EpisodeSummary
from softflow.data.files.frame_storage import EXACT, FrameLoss, FrameStorage
from softflow.data.files.jpeg_frames import compared, encoded_frames, loss_of, psnr_db

MIXED = (
    "frames of some episodes are stored in another way than those of others, which a network may "
    "learn to tell apart; softflow data filter STORE OUT --frames … brings all to one"
)


def storage_of(summary: EpisodeSummary) -> FrameStorage:
    """How the frames of an episode are stored."""
    return summary.frames.storage if summary.frames else EXACT


def frames_told(store: EpisodeStore) -> list[str]:
    """A line for each way in which frames are stored there, with their loss; none without cameras.

    The loss is that of a few frames of each episode, measured when it was stored.
    """
    if not store.spec.image_keys:
        return []
    summaries = store.summaries()
    counts = Counter(map(storage_of, summaries))
    if not counts:
        return [f"{store.frames}"]
    lines = [_told(storage, summaries) for storage, _ in counts.most_common()]
    if len(counts) == 1:
        return lines
    each = zip(counts.most_common(), lines, strict=True)
    return [
        *(f"{count} episode{'s' * (count != 1)} {line}" for (_, count), line in each),
        f"careful: {MIXED}",
    ]


def _told(storage: FrameStorage, summaries: Sequence[EpisodeSummary]) -> str:
    losses = [
        loss
        for summary in summaries
        if summary.frames is not None and summary.frames.storage == storage
        for loss in summary.frames.loss.values()
    ]
    return f"{storage}: {loss_told(losses)}" if losses else str(storage)


def loss_to_expect(episode: Episode, storage: FrameStorage) -> str:
    """What a store would lose of an episode's frames, by some of them; "" where nothing is."""
    cameras = [key for key in episode.observations if is_image_key(key)]
    if not (storage.is_lossy and cameras):
        return ""
    some = [compared(episode.observations[key]) for key in cameras]
    losses = [loss_of(frames, encoded_frames(frames, storage)) for frames in some]
    return f"{storage}: {loss_told(losses)}"


def loss_told(losses: Iterable[FrameLoss]) -> str:
    """What was lost and saved, over all frames that were compared."""
    losses = list(losses)
    count = sum(loss.frames for loss in losses)
    mean = sum(loss.frames * loss.mean_difference for loss in losses) / count
    squared = sum(loss.frames * loss.mean_squared_difference for loss in losses) / count
    smaller = sum(loss.exact_bytes for loss in losses) / sum(loss.bytes for loss in losses)
    size = f"{smaller:.1f} times smaller" if smaller >= 1 else f"{1 / smaller:.1f} times larger"
    return (
        f"{size} than exact, {mean:.2f} of 255 grey levels off on average, "
        f"PSNR {psnr_db(squared):.1f} dB ({count} frames compared)"
    )
