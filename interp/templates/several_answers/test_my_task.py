"""Tests of my_task.py: run `python -m pytest test_my_task.py`."""

import pytest
import torch
from interp.randomness import generator

from my_task import MyTask


def test_answers_are_right():
    examples = MyTask(n=3, base=4).examples("all", None, seed=0)
    words = [" ".join(row) for row in examples.words or ()]
    row = words.index("3 1 2 > 1 2")
    assert examples.targets[row].tolist() == [0, 0, 0, 1, 2, 3]
    assert examples.targets[words.index("2 0 2 > 0 2")].tolist() == [0, 0, 0, 0, 2, 2]


def test_answers_are_scored_from_the_sign_on():
    examples = MyTask(n=3).examples("test", 10, seed=0)
    assert examples.scored.tolist() == [[False] * 3 + [True] * 3] * 10


def test_training_draws_the_split_that_examples_say():
    task = MyTask()
    trained = task.data(None, generator(7, 0))["tokens"]
    looked_at = {split: task.examples(split, None, seed=7).model_inputs for split in task.splits}
    assert sorted(trained.tolist()) == sorted(looked_at["train"].tolist())
    everything = torch.cat([looked_at["train"], looked_at["test"]])
    assert len(everything.unique(dim=0)) == len(everything) == 7**4


def test_chance_is_the_accuracy_of_the_best_answer_by_place():
    # Of two bits the smaller is 0 in three of four sequences, the larger 1 in three of four.
    assert MyTask(n=2, base=2).facts.chance == 0.75


def test_a_split_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="split 'tset' is none of all, train, test"):
        MyTask().examples("tset", None, seed=0)
