"""The first walk of the docs, from their own text: a model of one's own becomes a page."""

from pathlib import Path

import pytest

import interp
from tests.docs.blocks import blocks

ROOT = Path(__file__).parents[2]
MAX_LINES = 19  # lines of a walk that are not empty
LOOP, STATES = [
    block for block in blocks(ROOT, "docs/your-own-model.md") if block.language == "python"
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which both walks were taken."""
    folder = tmp_path_factory.mktemp("walk")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        session: dict[str, object] = {}
        for block in (LOOP, STATES):
            exec(compile(block.text, str(block), "exec"), session)
    return folder


@pytest.mark.parametrize("block", [LOOP, STATES], ids=["loop", "states"])
def test_the_walk_is_short(block):
    assert len([line for line in block.text.splitlines() if line]) <= MAX_LINES


def test_a_loop_of_ones_own_becomes_a_page_with_its_curve(place):
    assert len(interp.load(place / "runs" / "mine").steps) == 11
    assert "Loss (train) over training" in (place / "report/runs/mine.html").read_text()


def test_states_of_ones_own_become_a_page_with_results(place):
    page = (place / "report-saved" / "runs" / "saved.html").read_text()
    assert len(interp.load(place / "runs" / "saved").steps) == 11
    assert "Weight norms" in page
    assert "Attention sparsity" in page
