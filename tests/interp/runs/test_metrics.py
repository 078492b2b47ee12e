"""Rows of metrics: read quickly where nothing is wrong, and the same as line by line."""

import json
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.runs import run as runs
from interp.runs.run import TAIL_BYTES, is_done_with, last_step, read_metrics

PIECES = (
    "{",
    "}",
    '"step": ',
    '"a": ',
    '"',
    ",",
    "\n",
    "0",
    "1",
    "2",
    "-1",
    "NaN",
    "1e3",
    "[",
    " ",
)
rows = st.fixed_dictionaries(
    {"step": st.one_of(st.integers(-1, 9), st.booleans(), st.floats())},
    optional={
        "test.loss": st.floats(),
        "note": st.sampled_from(["{", "}", "},{", None, True, [1], "\n"]),
        "{": st.integers(),
    },
)
broken = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
texts = st.lists(st.one_of(rows.map(json.dumps), broken), max_size=4).map("\n".join)


def line_by_line(path: Path) -> object:
    """What `read_metrics` says without its quick way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_whole_rows", lambda text: None)
        return said_of(path)


def said_of(path: Path) -> object:
    """Rows, or what is refused; as text, since NaN equals nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return repr(read_metrics(path))
        except ValueError as error:
            return str(error)


@settings(deadline=None, max_examples=300)
@given(text=texts, end=st.sampled_from(["\n", ""]))
def test_rows_are_those_of_reading_line_by_line(text, end):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        path.write_text(text + end)
        assert said_of(path) == line_by_line(path)


MERGED = {
    "a row over two lines": '{"step": 0\n"a": 1}\n{"step": 1}, {"step": 2}\n',
    "two rows in a line": '{"step": 0}, {"step": 1}\n',
    "an end inside a name": '{"step": 0, "a}\n{b": 1}\n',
    "as many rows as lines": '{"step": 0}, {"step": 1}\n{"step": 2, "a}\n{b": 1}\n',
    "a row in a row": '{"step": 0, "a":\n{"step": 1}}\n',
    "a list": '[{"step": 0}]\n',
    "lists without end": '{"step": ' + 10**5 * "[" + "}\n",
}


@pytest.mark.parametrize("text", MERGED.values(), ids=MERGED)
def test_lines_that_are_rows_only_together_are_refused(text, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(ValueError, match="line 1 is not a row of metrics"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_the_quick_way_is_taken_where_nothing_is_wrong(tmp_path, monkeypatch):
    monkeypatch.delattr(runs, "_metrics_row")
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "test.loss": 0.5}\n{"step": 10, "test.loss": 1}\n')
    assert read_metrics(path) == [
        {"step": 0, "test.loss": 0.5},
        {"step": 10, "test.loss": 1},
    ]


@pytest.mark.parametrize("factor", [0.5, 1, 5])
def test_the_last_step_is_found_before_a_long_end(factor, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n' + int(factor * TAIL_BYTES) * "x" + "\n")
    assert last_step(path) == 2


def test_a_finished_run_with_rows_longer_than_what_is_read_first_is_done(folder, experiment):
    path = folder / "metrics.jsonl"
    long = {f"metric {number}": 0.5 for number in range(TAIL_BYTES // 10)}
    lines = [json.loads(line) | long for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert is_done_with(folder, experiment)


def test_a_run_that_is_not_at_its_end_is_told_without_reading_all(folder, experiment, monkeypatch):
    monkeypatch.delattr(runs, "read_metrics")
    (folder / "checkpoints" / "40.safetensors").unlink()
    assert not is_done_with(folder, experiment)
    (folder / "metrics.jsonl").unlink()
    assert not is_done_with(folder, experiment)


def test_a_finished_run_with_a_damaged_row_is_not_done(folder, experiment):
    path = folder / "metrics.jsonl"
    assert is_done_with(folder, experiment)
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, "garbage\n", *others]))
    assert not is_done_with(folder, experiment)
