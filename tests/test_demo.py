"""`softflow demo` survives being killed: the same command goes on and ends as if nothing happened.

Kills at every other moment are in `training/test_reproducibility.py`, in a faster world.
"""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from warm_python import warm_python

from softflow.data.episode_store import EpisodeStore

TINY = (
    "--demonstrations=3",
    "--seed=2",  # the first demonstrations succeed: without a success there is no imitation
    "--model.policy.num-layers=2",
    "--model.policy.hidden-dim=16",
    "--model.encoder.token-dim=16",
    "--model.critic.hidden-dim=16",
    "--imitation.num-updates=3",
    "--critic-warmup.num-updates=3",
    "--offline-rl.num-updates=3",
    "--online-rl.num-updates=3",
    "--online-rl.num-rounds=1",
    "--online-rl.episodes-per-round=1",
    "--execution-candidates=2",
    "--checkpoint-interval-s=0",
    "--num-workers=1",
)


def demo(run: Path, eval_episodes: int, die_at: str = "") -> tuple[int, str]:
    """`softflow demo` in a process of its own; its status and what it and its workers said."""
    words = ["demo", "--run", str(run), *TINY, f"--eval-episodes={eval_episodes}"]
    return warm_python().run(words, die_at)


def demonstrations(run: Path) -> dict[str, tuple[int, bytes]]:
    """Episode file -> when it was written, and its bytes."""
    files = (run / "demonstrations" / "episodes").glob("episode_*.zip")
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def weights(run: Path) -> dict[str, str]:
    """Digests of the final networks and of their optimisers."""
    last = run / "checkpoints" / "last"
    assert last.resolve().name == "3_online_rl_00000003"
    digests = json.loads((last / "MANIFEST.json").read_text())["files"]
    return {name: d for name, d in digests.items() if name.endswith(".safetensors")}


@pytest.mark.slow
def test_killed_while_demonstrating_and_while_training_it_ends_the_same(tmp_path: Path) -> None:
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    status, said = demo(run, 1, die_at="demonstrated 2 2")
    assert status == -signal.SIGKILL, said
    first = demonstrations(run)
    assert len(first) == 1

    status, said = demo(run, 1, die_at="actor_update 2 3")
    assert status == -signal.SIGKILL, said
    collected = demonstrations(run)
    assert len(collected) == 3
    assert first.items() <= collected.items()
    assert not (run / "report.html").exists()

    status, said = demo(run, 1)
    assert status == 0, said
    # Checkpoints are written beside training: which one was whole when it died is a matter of luck.
    assert re.search(r"continuing from (critic_warmup|offline_rl), update \d", said)
    assert demonstrations(run) == collected
    assert len(EpisodeStore.open(run / "online")) == 1
    assert "This run is incomplete" not in (run / "report.html").read_text()

    status, said = demo(undisturbed, 0)
    assert status == 0, said
    assert weights(run) == weights(undisturbed)
