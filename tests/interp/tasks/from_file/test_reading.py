"""Files of examples: what their names mean, and what is refused with file, place and remedy."""

import json
import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from interp.tasks.from_file.file_examples import FileExamples
from interp.tasks.from_file.sources import READERS

ROWS = [
    {"tokens": [1, 2, 3], "targets": 2, "split": "train"},
    {"tokens": [4, 2], "targets": 1, "split": "test"},
    {"tokens": [5, 6, 7], "targets": 0, "split": "train"},
]
TOKENS = np.array([[1, 2, 3], [4, 2, 0], [5, 6, 7]])


@pytest.fixture
def jsonl(tmp_path):
    """Writes rows, or changes of `ROWS`, as a jsonl file; its path."""

    def jsonl(rows=None, drop=(), **columns):
        rows = ROWS if rows is None else rows
        changed = [
            {name: value for name, value in row.items() if name not in drop}
            | {name: values[n] for name, values in columns.items()}
            for n, row in enumerate(rows)
        ]
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in changed))
        return str(path)

    return jsonl


@pytest.fixture
def npz(tmp_path):
    """Writes arrays as an npz file; its path."""

    def npz(**arrays: Any) -> str:
        path = tmp_path / "arrays.npz"
        np.savez(path, **{"tokens": TOKENS} | arrays)  # pyright: ignore[reportArgumentType]  # arrays
        return str(path)

    return npz


def examples_of(path: str, **fields: Any) -> Any:
    return FileExamples.model_validate({"file": path} | fields).examples("all", None, 0)


def test_rows_of_several_lengths_are_padded_at_the_end(jsonl):
    examples = examples_of(jsonl())
    assert examples.tokens.tolist() == TOKENS.tolist()
    assert examples.lengths.tolist() == [3, 2, 3]


def test_rows_of_one_length_have_no_padding(jsonl):
    assert examples_of(jsonl([ROWS[0], ROWS[2]])).lengths is None


def test_a_single_answer_stands_at_the_last_real_position(jsonl):
    examples = examples_of(jsonl())
    assert examples.targets.tolist() == [[0, 0, 2], [0, 1, 0], [0, 0, 0]]
    assert examples.scored.int().tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_answers_that_are_null_do_not_count(jsonl):
    examples = examples_of(jsonl(targets=[[None, 3, 0], [2, None], [-100, 1, 1]]))
    assert examples.targets.tolist() == [[0, 3, 0], [2, 0, 0], [0, 1, 1]]
    assert examples.scored.int().tolist() == [[0, 1, 1], [1, 0, 0], [0, 1, 1]]


def test_real_answers_are_read_as_real_minus_a_hundred_too(jsonl):
    examples = examples_of(jsonl(targets=[[1.5, -100.0, None], [0.25, None], [0.0, 1.0, 2.0]]))
    assert examples.targets.dtype == torch.float64
    assert examples.targets.tolist() == [[1.5, -100, 0], [0.25, 0, 0], [0, 1, 2]]
    assert examples.scored.int().tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]


def test_scored_answers_are_those_that_are_marked(jsonl):
    marks = [[False, True, False], [True, False], [False, False, True]]
    examples = examples_of(jsonl(targets=[[1, 2, 3], [1, 2], [1, 2, 3]], scored=marks))
    assert examples.scored.int().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_every_next_token_is_predicted_where_that_is_asked_for(jsonl):
    examples = examples_of(jsonl(drop=("targets",)), next_token=True)
    assert examples.targets.tolist() == [[2, 3, 0], [2, 0, 0], [6, 7, 0]]
    assert examples.scored.int().tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 0]]


def test_labels_are_of_examples_or_of_positions(jsonl):
    labels = {"label.a": [3, 4, 5], "label.b": [[1, 2, 3], [4, 5], [6, 7, 8]]}
    examples = examples_of(jsonl(**labels, **{"label.c": [True, False, True]}))
    assert examples.labels["a"].tolist() == [3, 4, 5]
    assert examples.labels["b"].tolist() == [[1, 2, 3], [4, 5, 0], [6, 7, 8]]
    assert examples.labels["c"].dtype == torch.bool


TREES = {
    "brackets over positions": {"tree": ["((0 1) 2)", "(0 1)", "(0 (1 2))"]},
    "nested lists": {"tree": [[[0, 1], 2], [0, 1], [0, [1, 2]]]},
    "spans": {"spans": [[[0, 3], [0, 2]], [[0, 2]], [[0, 3], [1, 3]]]},
    "brackets over words": {
        "tree": ["((the old) cat)", "(cats sleep)", "(we (saw it))"],
        "words": [["the", "old", "cat"], ["cats", "sleep"], ["we", "saw", "it"]],
    },
}


@pytest.mark.parametrize("columns", TREES.values(), ids=TREES)
def test_trees_are_read_in_every_form(jsonl, columns):
    assert examples_of(jsonl(**columns)).trees == (((0, 1), 2), (0, 1), (0, (1, 2)))


def test_leaves_that_are_words_are_found_after_a_start_token(jsonl):
    words = [["BOS", "cats", "sleep"], ["BOS", "go"], ["BOS", "we", "saw"]]
    examples = examples_of(jsonl(words=words, tree=["(cats sleep)", "go", "(we saw)"]))
    assert examples.trees == ((1, 2), 1, (1, 2))
    assert examples.words == tuple(map(tuple, words))


def test_real_inputs_are_padded_too(jsonl):
    inputs = [[[1.0, 2.0], [3.0, 4.0]], [[5, 6]], [[7.0, 8.0], [9.0, 0.5]]]
    task = FileExamples(file=jsonl(drop=("tokens",), inputs=inputs, targets=[0.5, 1.0, 2.0]))
    examples: Any = task.examples("all", None, 0)
    assert examples.inputs.tolist()[1] == [[5, 6], [0, 0]]
    assert (examples.inputs.dtype, task.sizes.d_in, task.sizes.d_vocab_out) == (torch.float32, 2, 1)


def test_columns_say_what_a_file_calls_things_and_others_are_passed_over(jsonl):
    path = jsonl(drop=("tokens",), input_ids=[[1, 2], [3, 4], [5, 6]], text=["a", "b", "c"])
    columns = {"tokens": "input_ids", "targets": "targets"}
    examples = examples_of(path, columns=columns)
    assert examples.tokens.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_an_npz_file_says_the_same_as_rows(jsonl, npz):
    rows = examples_of(jsonl(words=[["a", "b", "c"], ["d", "e"], ["f", "g", "h"]]))
    arrays = examples_of(
        npz(
            targets=np.array([2, 1, 0]),
            lengths=np.array([3, 2, 3]),
            split=np.array(["train", "test", "train"]),
            words=np.array([["a", "b", "c"], ["d", "e", ""], ["f", "g", "h"]]),
        )
    )
    for name in ("tokens", "targets", "scored", "lengths"):
        assert torch.equal(getattr(rows, name), getattr(arrays, name))
    assert arrays.words[0] == rows.words[0]


def test_answers_of_the_last_positions_are_answers_of_all(npz):
    examples = examples_of(npz(targets=np.array([[1, 2], [3, -100], [4, 5]])))
    assert examples.targets.tolist() == [[0, 1, 2], [0, 3, 0], [0, 4, 5]]
    assert examples.scored.int().tolist() == [[0, 1, 1], [0, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">i4", "int16"])
def test_tokens_of_any_whole_type_are_indices(npz, dtype):
    tokens = examples_of(npz(tokens=TOKENS.astype(dtype), targets=np.zeros(3, dtype))).tokens
    assert tokens.tolist() == TOKENS.tolist()
    assert tokens.dtype in (torch.int32, torch.int64)


def test_a_parquet_file_says_the_same_as_rows(jsonl, tmp_path):
    pytest.importorskip("pyarrow")
    rows = [row | {"label.a": [1] * len(row["tokens"]), "tree": "(0 1)"} for row in ROWS]
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    ours, theirs = examples_of(str(tmp_path / "rows.parquet")), examples_of(jsonl(rows))
    for name in ("tokens", "targets", "scored", "lengths"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
    assert torch.equal(ours.labels["a"], theirs.labels["a"])
    assert ours.trees == theirs.trees


def test_nested_parquet_columns_are_real_inputs(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"inputs": [[[0.5, 1.0], [2.0, 3.0]]] * 2, "targets": [1, 0]})
    frame.to_parquet(tmp_path / "rows.parquet")
    examples = examples_of(str(tmp_path / "rows.parquet"))
    assert examples.inputs.tolist() == [[[0.5, 1], [2, 3]]] * 2


def test_parquet_without_pyarrow_is_refused_with_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"rows\.parquet: .*`pip install pyarrow`, or write"):
        examples_of(str(tmp_path / "rows.parquet"))


WRONG_ROWS = {
    "no targets": ({"drop": ("targets",)}, r"rows\.jsonl: there are no targets; .*next_token"),
    "no tokens": ({"drop": ("tokens",)}, r"rows\.jsonl: give tokens or inputs, one of the two"),
    "both": ({"inputs": [[[1.0]]] * 3}, r"give tokens or inputs, one of the two"),
    "a misspelt name": (
        {"score": [1, 1, 1]},
        r"rows\.jsonl: 'score' is none of .*did you mean scored",
    ),
    "a fraction for a token": (
        {"tokens": [[1, 2, 3], [4, 2], [5.5, 6, 7]]},
        r"rows\.jsonl:3: tokens: \[5\.5, 6, 7\], and a row of whole numbers",
    ),
    "a text for tokens": ({"tokens": [[1], "ab", [2]]}, r"rows\.jsonl:2: tokens: \"ab\", and"),
    "no tokens in a row": ({"tokens": [[1], [], [2]]}, r"rows\.jsonl:2: tokens: \[\], and a row"),
    "tokens in several depths": ({"tokens": [[1], [[1], 2], [2]]}, r"rows\.jsonl:2: tokens: "),
    "a huge token": ({"tokens": [[1], [10**30], [2]]}, r"rows\.jsonl:2: tokens: "),
    "a negative token": ({"tokens": [[1], [-1], [2]]}, r"rows\.jsonl: tokens hold -1: ids are 0"),
    "a text for a target": (
        {"targets": [1, "x", 2]},
        r"rows\.jsonl:2: targets: \"x\"; give a number, as row 0 has",
    ),
    "a list for a target": ({"targets": [1, [2, 1], 2]}, r"rows\.jsonl:2: targets: .*a number"),
    "a number for a list": (
        {"targets": [[1, 1, 1], 2, [1, 1, 1]]},
        r"rows\.jsonl:2: targets: 2; give a list of numbers and null",
    ),
    "too few targets": (
        {"targets": [[1, 1, 1], [2], [1, 1, 1]]},
        r"rows\.jsonl:2: targets: 1 answers for 2 positions; give null",
    ),
    "whole and real targets": (
        {"targets": [1.0, 2, 3.0]},
        r"rows\.jsonl:1: targets: whole numbers in some rows and real ones in others",
    ),
    "scored beside single answers": ({"scored": [[True]] * 3}, r"scored: targets are one an exam"),
    "a number for a mark": (
        {"targets": [[1, 1, 1], [1, 1], [1, 1, 1]], "scored": [[True] * 3, [1, 0], [True] * 3]},
        r"rows\.jsonl:2: scored: \[1, 0\]; give 2 times true or false",
    ),
    "a missing answer": (
        {
            "targets": [[1, 1, 1], [None, 1], [1, 1, 1]],
            "scored": [[True] * 3, [True, True], [True] * 3],
        },
        r"rows\.jsonl:2: targets: an answer that is scored is missing",
    ),
    "lengths": ({"lengths": [3, 2, 3]}, r"lengths: rows have their own lengths here: leave it out"),
    "a text for a label": ({"label.a": [1, "x", 2]}, r"rows\.jsonl:2: label\.a: \"x\"; give a num"),
    "a short label": (
        {"label.a": [[1, 2, 3], [1], [1, 2, 3]]},
        r"rows\.jsonl:2: label\.a: \[1\]; give 2 numbers",
    ),
    "a label of two kinds": ({"label.a": [1, True, 2]}, r"label\.a: truth values in some rows"),
    "too few words": (
        {"words": [["a", "b", "c"], ["d"], ["e", "f", "g"]]},
        r"rows\.jsonl:2: words: \[\"d\"\]; give 2 texts",
    ),
    "a tree that skips a position": (
        {"tree": ["(0 1)", "(0 2)", "(0 1)"]},
        r"rows\.jsonl:2: tree: the positions \[0, 2\] are not one after the other",
    ),
    "a tree beyond the example": (
        {"tree": ["(0 1)", "((0 1) 2)", "(0 1)"]},
        r"rows\.jsonl: trees\[1\] spans the positions 0 to 2, the example has 2",
    ),
    "a tree of unknown words": (
        {"tree": ["(the cat)", "(0 1)", "(0 1)"]},
        r"rows\.jsonl:1: tree: '\(the cat\)': its leaves are no positions, and stand in words at 0",
    ),
    "a bracket that is never closed": (
        {"tree": ["(0 1)", "((0 1)", "(0 1)"]},
        r"rows\.jsonl:2: tree: 1 brackets are never closed",
    ),
    "a tree of fractions": ({"tree": [[0, 1], [0, 0.5], [0, 1]]}, r"rows\.jsonl:2: tree: 0\.5; gi"),
    "spans that cross": (
        {"spans": [[[0, 3], [0, 2], [1, 3]], [[0, 2]], [[0, 2]]]},
        r"rows\.jsonl:1: spans: spans: \(1, 3\) crosses",
    ),
    "spans that are none": ({"spans": [[1, 2], [[0, 2]], [[0, 2]]]}, r"rows\.jsonl:1: spans: .*pa"),
    "no spans": ({"spans": [[], [[0, 2]], [[0, 2]]]}, r"rows\.jsonl:1: spans: there are no spans"),
    "tree and spans": ({"tree": ["(0 1)"] * 3, "spans": [[]] * 3}, r"leave one of them out"),
    "a split called all": ({"split": ["all"] * 3}, r"rows\.jsonl:1: split: \"all\"; give a name"),
    "a split that leads elsewhere": ({"split": ["a", "../x", "b"]}, r"rows\.jsonl:2: split: "),
    "a number for a split": ({"split": ["a", 1, "b"]}, r"rows\.jsonl:2: split: 1; give a name"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_a_wrong_row_is_named_with_file_line_and_remedy(jsonl, changes, message):
    with pytest.raises(ValueError, match=message) as refused:
        examples_of(jsonl(**changes))
    assert "\n" not in str(refused.value)


WRONG_LINES = {
    "no JSON": ('{"tokens": [1]\n', r":1: not JSON"),
    "a list": ("[1, 2]\n", r':1: give a JSON table, such as {"tokens": \[\.\.\]}'),
    "other keys": (
        '{"tokens": [1], "targets": 1}\n{"tokens": [1]}\n',
        r":2: 'targets' is in some lines and not in all",
    ),
    "more keys": (
        '{"tokens": [1]}\n{"tokens": [1], "targets": 1}\n',
        r":2: 'targets' is in some lines and not in all",
    ),
    "nothing": ("", r": the file is empty"),
}


@pytest.mark.parametrize(("text", "message"), WRONG_LINES.values(), ids=WRONG_LINES)
def test_a_line_that_is_no_row_is_named(tmp_path, text, message):
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "rows.jsonl")) + message):
        examples_of(str(tmp_path / "rows.jsonl"))


LAST = np.array([2, 1, 0])
WRONG_ARRAYS = {
    "real tokens": ({"tokens": TOKENS / 2}, r"tokens: an array \[3, 3\] of float64, and whole"),
    "tokens in a row": ({"tokens": TOKENS[0]}, r"tokens: an array \[3\] of int64, and whole num"),
    "texts for targets": ({"targets": np.array(["a"] * 3)}, r"targets: an array \[3\] of <U1, and"),
    "too many targets": ({"targets": np.zeros((3, 4), int)}, r"targets: 4 answers for 3 positions"),
    "fewer targets": ({"targets": LAST[:2]}, r"rows differ in number \(tokens 3, targets 2\)"),
    "marks that are numbers": (
        {"targets": TOKENS, "scored": TOKENS},
        r"scored: an array \[3, 3\] of int64; give booleans \[3, 3\], as targets have",
    ),
    "real lengths": (
        {"targets": LAST, "lengths": LAST / 2},
        r"lengths: an array .*whole number an",
    ),
    "lengths beyond the positions": (
        {"targets": TOKENS, "lengths": np.array([3, 9, 3])},
        r"lengths\[1\] is 9: give 1 to 3",
    ),
    "a label of another width": (
        {"targets": LAST, "label.a": np.zeros((3, 2))},
        r"label\.a: an array \[3, 2\] .*\[example\] or \[example, 3\]",
    ),
    "a single value": ({"targets": np.array(1)}, r"targets: a single value; give an array"),
    "words that are no JSON": (
        {"targets": LAST, "words": np.array(["a b c"] * 3)},
        r"words\[0\]: \"a b c\" is no JSON; give a list",
    ),
    "answers in the padding": (
        {"targets": TOKENS, "scored": TOKENS >= 0, "lengths": np.array([3, 2, 3])},
        r"example 1 has 2 real positions \(lengths\) and is scored after them",
    ),
}


@pytest.mark.parametrize(("arrays", "message"), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
def test_a_wrong_array_is_named_with_file_and_remedy(npz, arrays, message):
    with pytest.raises(ValueError, match=rf"arrays\.npz: {message}|arrays\.npz: {message}"):
        examples_of(npz(**arrays))


def test_nothing_is_unpickled(tmp_path):
    class Boom:
        def __reduce__(self):
            return (exit, (3,))

    path = tmp_path / "objects.npz"
    np.savez(path, tokens=np.array([Boom()], dtype=object))
    with pytest.raises(ValueError, match=r"objects\.npz cannot be read as npz: .*be unpickled; sa"):
        examples_of(str(path))


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_something_else_is_refused(tmp_path, name):
    (tmp_path / f"data{name}").write_bytes(b"\x80\x04K\x03.")
    with pytest.raises(ValueError, match=rf"data\{name}"):
        examples_of(str(tmp_path / f"data{name}"))


def test_a_single_array_is_no_npz(tmp_path):
    np.save(tmp_path / "one.npy", TOKENS)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"it holds a single array; np\.savez writes several"):
        examples_of(str(tmp_path / "one.npz"))


def test_an_unknown_ending_is_refused_with_those_that_are_read(tmp_path):
    (tmp_path / "data.csv").write_text("a")
    with pytest.raises(ValueError, match=r"data\.csv: the name must end in \.npz, \.jsonl, \.parq"):
        examples_of(str(tmp_path / "data.csv"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz does not exist"):
        examples_of(str(tmp_path / "nowhere.npz"))


def test_a_column_that_is_not_there_is_named(jsonl):
    with pytest.raises(ValueError, match=r"there is no 'ids', which columns\.tokens names; there"):
        examples_of(jsonl(), columns={"tokens": "ids"})


def test_targets_beside_next_tokens_are_refused(jsonl):
    with pytest.raises(ValueError, match=r"targets: next_token is true, which makes it"):
        examples_of(jsonl(), next_token=True)


def test_next_tokens_of_inputs_are_refused(jsonl):
    path = jsonl(drop=("tokens", "targets"), inputs=[[[1.0]]] * 3)
    with pytest.raises(ValueError, match=r"next_token is true, and there are no tokens"):
        examples_of(path, next_token=True)


def test_inputs_of_several_widths_are_named(jsonl):
    path = jsonl(drop=("tokens",), inputs=[[[1.0]], [[1.0, 2.0]], [[1.0]]])
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: inputs: it has another number"):
        examples_of(path)


def test_nan_among_inputs_is_refused(npz):
    path = npz(tokens=TOKENS, targets=LAST)
    np.savez(path, inputs=np.full((3, 2, 1), math.nan), targets=LAST)
    with pytest.raises(ValueError, match=r"arrays\.npz: inputs hold NaN"):
        examples_of(path)
