"""`softflow serve` in a process of its own decides as the policy itself does."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from point_world import point_spec
from serving_process import serving
from training_processes import begun_run

import softflow
from softflow.data.data_spec import STATE_KEY
from softflow.errors import PolicyServerError
from softflow.robot.policy_client import PolicyClient

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.mark.slow
def test_a_served_policy_decides_as_it_does_here(demonstrations: Path, tmp_path: Path) -> None:
    begun_run(demonstrations, tmp_path / "run")
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    here = softflow.load_policy(tmp_path / "run", seed=5)
    words = (str(tmp_path / "run"), "--seed", "5", "--token-file", str(token))
    with serving(*words) as (process, port):
        address = f"ws://127.0.0.1:{port}"
        with pytest.raises(PolicyServerError, match="another token"):
            PolicyClient(address, point_spec())
        asker = PolicyClient(address, point_spec(), here.chunk, token=TOKEN, deadline_s=60.0)
        assert asker.policy == here.path.name
        rng = np.random.default_rng(0)
        for _ in range(3):
            seen = {STATE_KEY: rng.uniform(-0.4, 0.4, (2, 4)).astype(np.float32)}
            prefix = rng.uniform(-1, 1, (1, 2)).astype(np.float32)
            np.testing.assert_array_equal(asker.decide(seen, prefix), here.plan(seen, prefix))
        request = urllib.request.Request(f"http://127.0.0.1:{port}/health")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["decisions"] == 3
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
        assert process.returncode == 0, said
        assert "Traceback" not in said
