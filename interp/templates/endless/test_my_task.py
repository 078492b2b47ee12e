"""Tests of my_task.py: run `python -m pytest test_my_task.py`."""

import pytest
from interp.randomness import generator

from my_task import ALPHABET, MyTask


def test_answers_are_right():
    examples = MyTask().examples("test", None, seed=0)
    for (*letters, place), answer in zip(examples.words or (), examples.targets, strict=True):
        assert ALPHABET[answer[-1]] == letters[int(place) - 1]


def test_only_the_last_position_is_scored():
    examples = MyTask(n=3).examples("test", 10, seed=0)
    assert examples.scored.tolist() == [[False, False, False, True]] * 10


def test_data_are_drawn_without_end_from_the_generator():
    task = MyTask()
    assert task.train_count is None
    drawn = [task.data(50, generator(0, 0, batch))["tokens"].tolist() for batch in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1]
    with pytest.raises(ValueError, match="draws without end; say how many prompts"):
        task.data(None, generator(0, 0, 0))


def test_every_letter_and_place_is_drawn_about_equally_often():
    task = MyTask(n=4, letters=5, test_prompts=20_000)
    examples = task.examples("test", None, seed=0)
    for name, values in (("letter", 5), ("place", 4)):
        shares = examples.label(name).bincount(minlength=values) / 20_000
        assert shares.tolist() == pytest.approx([1 / values] * values, abs=0.02)  # 6 deviations
    assert task.facts.chance == 1 / 5


def test_a_split_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="split 'train' is none of test"):
        MyTask().examples("train", None, seed=0)
