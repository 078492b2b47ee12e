"""Tests of my_task.py: run `python -m pytest test_my_task.py`."""

import pytest
import torch
from interp.randomness import generator

from my_task import MyTask


def test_answers_are_right():
    examples = MyTask().examples("all", None, seed=0)
    corner = {(False, False): 0, (True, False): 1, (False, True): 2, (True, True): 3}
    x, y = examples.label("mean_x"), examples.label("mean_y")
    right = [corner[x > 0, y > 0] for x, y in zip(x.tolist(), y.tolist(), strict=True)]
    assert examples.label("quadrant").tolist() == right
    assert torch.allclose(examples.model_inputs[:, :, 0].mean(1), x)


def test_only_the_last_position_is_scored():
    examples = MyTask(n=3).examples("test", 10, seed=0)
    assert examples.scored.tolist() == [[False, False, True]] * 10
    assert torch.equal(examples.targets[:, -1], examples.label("quadrant"))


def test_training_draws_the_split_that_examples_say():
    task = MyTask(train_prompts=30, test_prompts=20)
    trained = task.data(None, generator(7, 0))["inputs"]
    assert torch.equal(trained, task.examples("train", None, seed=7).model_inputs)
    everything = task.examples("all", None, seed=7).model_inputs
    assert torch.equal(everything[30:], task.examples("test", None, seed=7).model_inputs)


def test_quadrants_are_equally_frequent():
    task = MyTask(train_prompts=20_000, test_prompts=1)
    shares = task.examples("train", None, seed=0).label("quadrant").bincount() / 20_000
    assert shares.tolist() == pytest.approx([task.facts.chance] * 4, abs=0.02)  # 6 deviations


def test_a_split_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="split 'tset' is none of all, train, test"):
        MyTask().examples("tset", None, seed=0)
