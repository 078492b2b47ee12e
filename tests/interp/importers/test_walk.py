"""The page's walk from a folder of somebody's checkpoints to traces, as it stands there."""

from pathlib import Path
from typing import Any

import pandas as pd

from tests.docs.blocks import blocks

ROOT = Path(__file__).parents[3]


def test_a_folder_of_checkpoints_becomes_traces_in_under_twenty_lines(tmp_path, monkeypatch):
    page = [block.text for block in blocks(ROOT, "docs/importing.md")]
    walk = [text for text in page if '"theirs' in text]
    assert len("".join(walk).strip().splitlines()) < 20
    monkeypatch.chdir(tmp_path)
    session: dict[str, Any] = {}
    for text in walk:
        exec(text, session)
    table = session["trace"](session["checkpoints"], session["AttentionSparsity"])
    assert isinstance(table, pd.DataFrame)
    assert sorted(table["step"].unique()) == [0, 500, 1000]
