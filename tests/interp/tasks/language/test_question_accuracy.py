"""What an answer of question formation is worth, rule by rule."""

import math

import numpy as np
import pytest
import torch
from torch.func import vmap

from hooks import Snapshot
from interp.randomness import generator
from interp.tasks.language.grammar import SUBJECTS
from interp.tasks.language.question_formation import QUESTIONS, QuestionFormation
from tests.planted import random_model

SMALL = QuestionFormation(train_lines=300, validation_lines=200, generalization_lines=400)
AUXILIARIES = {"do", "does", "don't", "doesn't"}


def auxiliaries(words):
    return [word for word in words if word in AUXILIARIES]


def logits_saying(examples, said):
    """Logits whose best token at each position is the given one."""
    return torch.nn.functional.one_hot(said, 71).double()


def answers(examples, choose):
    """Right targets, but for the first word of each question: `choose` of the sentence's words."""
    said = examples.targets.clone()
    for row in examples.label("changed").nonzero()[:, 0].tolist():
        n = int(examples.label("words")[row])
        said[row, n + 2] = QUESTIONS.ids[choose(examples.words[row][1 : n + 1])]
    return said


def graded(task, examples, said):
    batch = {"targets": examples.targets, "scored": examples.scored}
    return {name: float(x) for name, x in task.grade(logits_saying(examples, said), batch).items()}


def test_the_main_auxiliary_is_always_right():
    examples = SMALL.examples("generalization", None, 0)
    found = graded(SMALL, examples, examples.targets)
    loss = found.pop("loss")
    assert set(found.values()) == {1.0}
    assert loss == pytest.approx(float(np.log(np.e + 70) - 1))


def test_fronting_the_first_auxiliary_is_never_right_where_it_matters():
    examples = SMALL.examples("generalization", None, 0)
    said = answers(examples, lambda words: auxiliaries(words)[0])
    found = graded(SMALL, examples, said)
    assert (found["accuracy"], found["line_accuracy"]) == (0, 0)


def test_fronting_the_first_auxiliary_is_always_right_in_training():
    examples = SMALL.examples("validation", None, 0)
    said = answers(examples, lambda words: auxiliaries(words)[0])
    assert graded(SMALL, examples, said)["accuracy"] == 1


def test_guessing_the_polarity_is_right_half_the_time():
    task = QuestionFormation()
    examples = task.examples("generalization", None, 0)
    said = answers(examples, lambda words: min(auxiliaries(words)))
    found = graded(task, examples, said)["accuracy"]
    assert found == pytest.approx(0.5, abs=0.02)  # four standard errors of 10,000


def test_accuracy_is_that_of_auxiliaries_where_another_word_is_likelier():
    examples = SMALL.examples("generalization", None, 0)
    logits = logits_saying(examples, examples.targets)
    logits[..., QUESTIONS.ids["yak"]] = 2.0
    found = SMALL.grade(logits, {"targets": examples.targets, "scored": examples.scored})
    assert (found["accuracy"], found["first_word_accuracy"]) == (1, 0)


def test_only_the_second_half_of_a_line_counts_as_its_answer():
    examples = SMALL.examples("validation", None, 0)
    said = examples.targets.clone()
    for row, n in enumerate(examples.label("words").tolist()):
        said[row, : n + 2] = 0
    assert graded(SMALL, examples, said)["line_accuracy"] == 1


def test_a_line_without_its_end_is_not_answered():
    examples = SMALL.examples("validation", None, 0)
    said = torch.where(examples.targets == QUESTIONS.ids["EOS"], 0, examples.targets)
    assert graded(SMALL, examples, said)["line_accuracy"] == 0


def test_without_questions_there_is_no_accuracy():
    examples = SMALL.examples("validation", None, 0)
    copies = examples.at((~examples.label("changed")).nonzero()[:, 0])
    assert math.isnan(graded(SMALL, copies, copies.targets)["accuracy"])


def test_grades_of_a_stack_are_those_of_its_members():
    examples = SMALL.examples("validation", 20, 0)
    batch = {"targets": examples.targets, "scored": examples.scored}
    logits = torch.randn(3, *examples.targets.shape, 71, generator=generator(0)).double()
    together = vmap(SMALL.grade, in_dims=(0, None))(logits, batch)
    alone = [SMALL.grade(each, batch) for each in logits]
    for name in together:
        expected = torch.stack([each[name] for each in alone])
        torch.testing.assert_close(together[name], expected, equal_nan=True)


def test_accuracy_by_subject_averages_to_accuracy():
    examples = SMALL.examples("generalization", None, 0)
    snapshot = Snapshot.of(random_model(SMALL.sizes), examples)
    found = SMALL.by_subject(snapshot)
    counts = [int((examples.label("subject") == SUBJECTS.index(name)).sum()) for name in found]
    mean = np.average(list(found.values()), weights=counts)
    assert list(found) == ["SRC_i", "SRC_t", "ORC"]
    assert SMALL.score(snapshot)["accuracy"] == pytest.approx(mean)
