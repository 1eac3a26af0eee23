"""Processes that open a store, say so, and build something beside it when they are let go."""

from __future__ import annotations

import os
import subprocess
import sys

from softflow.data.episode_store import EpisodeStore


def start_builder(script: str, store: EpisodeStore, word: object) -> subprocess.Popen[str]:
    """A process of a script that gets the store's path and a word.

    It prints "ready" and reads a line, then builds.
    """
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, str(store.path), str(word)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def let_go(builder: subprocess.Popen[str]) -> None:
    """Let it build."""
    assert builder.stdin is not None
    builder.stdin.write("\n")
    builder.stdin.flush()
