"""What to do with a file that no library can read, where its first bytes or the error tell more."""

from __future__ import annotations

from pathlib import Path

LFS_START = b"version https://git-lfs.github.com/spec/"
ROS1_START = b"#ROSBAG V"
NO_FOOTER = "magic bytes not found in footer"
"""What Arrow says of a Parquet file that was never closed."""
DOWNLOAD = "download the file again, it may have been cut"


def remedy(path: Path, error: object = "", otherwise: str = DOWNLOAD) -> str:
    """What to do with an unreadable file.

    Args:
        path: the file.
        error: what the library said.
        otherwise: what to do where nothing more is known.
    """
    start = first_bytes(path)
    if start.startswith(LFS_START):
        return (
            "it is a Git LFS pointer, not the data: run git lfs pull in the dataset's folder (git "
            "lfs install once before), or download the dataset with its own tool"
        )
    if start.startswith(ROS1_START):
        return (
            "it is a ROS 1 bag: convert it with rosbags-convert (pip install rosbags), for example "
            f"rosbags-convert --src {path} --dst {path.with_suffix('')}, and import that folder"
        )
    if NO_FOOTER in str(error):
        return (
            "the table has no footer, so its rows cannot be found. It was cut: download it again; "
            "or its writer was stopped before LeRobot's finalize(): record or convert it again"
        )
    return otherwise


def first_bytes(path: Path, count: int = 64) -> bytes:
    """The beginning of a file; nothing where it cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
