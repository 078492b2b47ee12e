import pytest
import torch

from interp.tasks.base import late_share


def batch_of(targets, scored):
    return {"targets": torch.tensor(targets), "scored": torch.tensor(scored).bool()}


def late_accuracy(logits, batch):
    return late_share(logits.argmax(-1) == batch["targets"], batch["scored"], logits.dtype)


def answering(answers, classes=3):
    return torch.nn.functional.one_hot(torch.tensor(answers), classes).double()


def test_only_the_last_four_answers_count():
    batch = batch_of([[1, 1, 1, 1, 1, 1]], [[1] * 6])
    assert late_accuracy(answering([[1, 1, 0, 0, 0, 1]]), batch) == pytest.approx(1 / 4)


def test_positions_that_are_not_scored_count_nowhere():
    batch = batch_of([[2, 0, 2, 0, 2, 0, 2, 0, 1, 0]], [[1, 0] * 5])
    right = answering([[0, 0, 2, 0, 2, 0, 2, 0, 0, 0]])
    assert late_accuracy(right, batch) == pytest.approx(3 / 4)


def test_shorter_prompts_count_whole():
    batch = batch_of([[1, 2], [1, 2]], [[1, 1], [1, 1]])
    assert late_accuracy(answering([[1, 2], [0, 2]]), batch) == pytest.approx(3 / 4)


def test_a_stack_of_models_is_graded_as_each_alone():
    batch = batch_of([[1, 2, 0], [1, 2, 0]], [[1, 1, 1], [1, 0, 1]])
    logits = torch.stack([answering([[1, 2, 0], [0, 2, 0]]), answering([[0, 0, 0], [1, 1, 1]])])
    together = torch.vmap(late_accuracy, in_dims=(0, None))(logits, batch)
    assert together.tolist() == [late_accuracy(each, batch).item() for each in logits]
