"""Accuracy of questions by kind of relative clause on their subject."""

import pytest
import torch

from hooks import Snapshot
from interp.tasks.language.grammar import SUBJECTS
from interp.tasks.language.question_formation import QuestionFormation, clauses
from interp.training.state import drop_nan, is_sound
from tests.planted import random_model

SMALL = QuestionFormation(train_lines=300, validation_lines=200, generalization_lines=400)


@pytest.mark.parametrize("split", ["generalization", "train"])
def test_kinds_of_relative_clause_are_read_off_the_words(split):
    examples = SMALL.examples(split, None, 0)
    for kind, is_kind in clauses(examples.targets).items():
        expected = examples.label("subject") == SUBJECTS.index(kind)
        assert expected.any()
        assert torch.equal(is_kind, expected)


def test_accuracy_by_kind_of_clause_is_that_by_subject():
    examples = SMALL.examples("generalization", None, 0)
    snapshot = Snapshot.of(random_model(SMALL.sizes), examples)
    found = SMALL.score(snapshot)
    expected = SMALL.by_subject(snapshot)
    assert {name: found[f"accuracy_{name}"] for name in expected} == pytest.approx(expected)


def test_accuracy_of_a_kind_that_a_split_lacks_is_not_recorded():
    examples = SMALL.examples("validation", None, 0)
    right = torch.nn.functional.one_hot(examples.targets, 71).double()
    found = SMALL.grade(right, {"targets": examples.targets, "scored": examples.scored})
    row = {name: float(value) for name, value in found.items()}
    assert is_sound(row)
    assert set(drop_nan(row)) == {"loss", "accuracy", "first_word_accuracy", "line_accuracy"}
