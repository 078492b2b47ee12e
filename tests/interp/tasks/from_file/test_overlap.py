"""Test examples that are also training examples are counted, and said once."""

import json
import warnings

import numpy as np
import pytest

from interp.config.experiment import load_experiment
from interp.tasks.from_file.file_examples import FileExamples
from interp.training.loop import train

TOML = """
[task]
name = "examples"
file = "data.jsonl"

[model]
d_model = 8
n_heads = 2

[training]
steps = 2
"""
ROWS = [("train", [1, 2]), ("train", [1, 2, 0]), ("train", [3, 0]),
        ("test", [1, 2]), ("test", [1, 2]), ("test", [3, 0, 0]), ("test", [2, 1])]  # fmt: skip


def rows_file(folder, rows):
    lines = [
        json.dumps({"tokens": tokens, "targets": [0] * len(tokens), "split": split})
        for split, tokens in rows
    ]
    (folder / "data.jsonl").write_text("\n".join(lines))
    return folder / "data.jsonl"


def test_two_examples_are_one_if_tokens_and_length_are_the_same(tmp_path):
    task = FileExamples(file=str(rows_file(tmp_path, ROWS)))
    assert task.overlap.startswith("2 of the 4 test examples are also training examples, and say")


def test_nothing_is_said_of_splits_that_share_nothing(tmp_path):
    assert not FileExamples(file=str(rows_file(tmp_path, ROWS[:3] + ROWS[6:]))).overlap


def test_nothing_is_said_without_a_test_split(tmp_path):
    assert not FileExamples(file=str(rows_file(tmp_path, ROWS[:3]))).overlap


def test_real_inputs_are_compared_by_their_values(tmp_path):
    inputs = np.array([[[0.0, 1.0]], [[-0.0, 1.0]], [[0.5, 1.0]]], dtype=np.float32)
    file = tmp_path / "data.npz"
    np.savez(file, inputs=inputs, targets=np.zeros((3, 1)), split=["train", "test", "test"])
    assert FileExamples(file=str(file)).overlap.startswith("1 of the 2 test examples")


def test_training_says_it_once(tmp_path):
    rows_file(tmp_path, ROWS)
    (tmp_path / "mine.toml").write_text(TOML)
    experiment = load_experiment(tmp_path / "mine.toml")
    with pytest.warns(UserWarning, match=r"run: 2 of the 4 test examples are also training"):
        train(experiment, tmp_path / "run", device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = train(experiment, tmp_path / "run", device="cpu")
        assert len(run.snapshot(split="test").examples) == 4
