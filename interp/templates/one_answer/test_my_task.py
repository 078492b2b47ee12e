"""Tests of my_task.py: run `python -m pytest test_my_task.py`."""

import pytest
import torch
from interp.randomness import generator

from my_task import MyTask


def test_answers_are_right():
    examples = MyTask(n=3, base=4).examples("all", None, seed=0)
    by_digits = dict(zip(examples.words or (), examples.label("largest").tolist(), strict=True))
    assert len(by_digits) == 4**3
    assert by_digits["0", "0", "0"] == 0
    assert by_digits["2", "0", "3"] == 3
    assert by_digits["1", "2", "2"] == 2


def test_only_the_last_position_is_scored():
    examples = MyTask().examples("test", 10, seed=0)
    assert examples.scored.tolist() == [[False, False, False, True]] * 10
    assert torch.equal(examples.targets[:, -1], examples.label("largest"))


def test_training_draws_the_split_that_examples_say():
    task = MyTask()
    trained = task.data(None, generator(7, 0))["tokens"].tolist()
    looked_at = {split: task.examples(split, None, seed=7).tokens for split in task.splits}
    assert sorted(trained) == sorted(looked_at["train"].tolist())  # pyright: ignore[reportOptionalMemberAccess]
    test = looked_at["test"].tolist()  # pyright: ignore[reportOptionalMemberAccess]
    assert not {*map(tuple, trained)} & {*map(tuple, test)}
    assert len(trained) + len(test) == 8**4


def test_chance_is_the_accuracy_of_the_best_constant_answer():
    # Of two bits the largest is 1 in three of four sequences.
    assert MyTask(n=2, base=2).facts.chance == 0.75


def test_a_split_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="split 'tset' is none of all, train, test"):
        MyTask().examples("tset", None, seed=0)
