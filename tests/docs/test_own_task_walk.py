"""The walk of a task in one file to a trained run and its page, from the docs' own text."""

import os
import subprocess
import sys
from pathlib import Path

import interp
from tests.docs.blocks import blocks

ROOT = Path(__file__).parents[2]
WALK = blocks(ROOT, "docs/your-own-task.md")[0]
MAX_LINES = 19


def test_a_task_in_one_file_becomes_a_trained_run_and_a_page(tmp_path, monkeypatch):
    assert WALK.language == "bash"
    assert len(WALK.text.splitlines()) <= MAX_LINES
    (tmp_path / ".venv").symlink_to(sys.prefix)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    said = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", WALK.text],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-3000:]
    monkeypatch.chdir(tmp_path / "mine")
    run = interp.load("runs/sorting-s0")
    assert run.metrics["test.accuracy"].iloc[-1] > 0.9
    assert "Sorting" in (tmp_path / "mine" / "report" / "index.html").read_text("utf-8")
