"""How the frames of a store's episodes are kept, and what that cost, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from softflow.data.data_spec import is_image_key
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore, EpisodeSummary
from softflow.data.files.frame_storage import EXACT, JPEG_QUALITY, FrameLoss, FrameStorage
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


def frames_to_expect(episode: Episode, storage: FrameStorage) -> str:
    """The space that the frames of an episode take in a store, and what is lost, by some of them.

    "" without cameras.
    """
    cameras = [key for key in episode.observations if is_image_key(key)]
    if not cameras:
        return ""
    jpeg = storage if storage.is_lossy else FrameStorage("jpeg", JPEG_QUALITY)
    some = [compared(episode.observations[key]) for key in cameras]
    losses = [loss_of(frames, encoded_frames(frames, jpeg)) for frames in some]
    count = sum(len(episode.observations[key]) for key in cameras)
    share = count / sum(loss.frames for loss in losses) / 2**20
    exact = share * sum(loss.exact_bytes for loss in losses)
    stored = share * sum(loss.bytes for loss in losses)
    if storage.is_lossy:
        return f"{storage}: about {stored:,.1f} MiB for this episode; {loss_told(losses)}"
    return (
        f"exact: about {exact:,.1f} MiB for this episode; --frames jpeg about {stored:,.1f} MiB, "
        "with a loss; --image-size takes less of either"
    )


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
