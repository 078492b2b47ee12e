"""What contradicts itself is refused when examples are made."""

from copy import copy
from typing import Any

import numpy as np
import pytest
import torch

from hooks import (
    Examples,
    Facts,
    FunctionFacts,
    InputFacts,
    MixtureFacts,
    ModularFacts,
    PromptFacts,
    Snapshot,
)
from tests.planted import random_model

TOKENS = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 6]])
LAST = torch.tensor([[False, False, True, False], [False, False, False, True]])
GIVEN: dict[str, Any] = {
    "targets": torch.tensor([[0, 0, 5, 0], [0, 0, 0, 6]]),
    "scored": LAST,
    "tokens": TOKENS,
    "lengths": torch.tensor([3, 4]),
    "labels": {"a": torch.tensor([1, 2])},
    "trees": ((0, (1, 2)), ((1, 2), 3)),
    "words": (("a", "b", "c"), ("d", "e", "f", "g")),
}
REAL = torch.zeros(2, 4, 3)


def changed(**changes) -> Examples:
    """Made as without the shape checks of tests, which users do not have."""
    examples = copy(Examples(**GIVEN))
    for name, value in changes.items():
        object.__setattr__(examples, name, value)
    examples.__post_init__()
    return examples


def test_examples_that_agree_with_themselves_are_made():
    assert len(changed()) == 2


def with_value(values, row, place, value):
    spoiled = values.clone()
    spoiled[row, place] = value
    return spoiled


FLOATS = torch.zeros(2, 4)
WRONG = {
    "a length of 0": ({"lengths": torch.tensor([0, 4])}, r"lengths\[0\] is 0: give 1 to 4"),
    "a length beyond": ({"lengths": torch.tensor([3, 5])}, r"lengths\[1\] is 5: give 1 to 4"),
    "lengths of others": ({"lengths": torch.tensor([3])}, "lengths has 1 entries, there are 2"),
    "scored of another shape": ({"scored": LAST[:, :3]}, r"scored is \[2, 3\] and targets \[2"),
    "scored of numbers": ({"scored": LAST.long()}, "scored holds torch.int64"),
    "scored in the padding": ({"lengths": torch.tensor([2, 4])}, "padded on the right here"),
    "nothing scored": ({"scored": LAST & False}, "scored is False everywhere"),
    "a token below 0": ({"tokens": with_value(TOKENS, 0, 3, -100)}, "tokens hold -100"),
    "a token of a half": ({"tokens": TOKENS / 2}, "tokens hold torch.float32"),
    "a target below 0": ({"targets": with_value(GIVEN["targets"], 1, 3, -1)}, "targets hold -1"),
    "targets of NaN": ({"targets": with_value(FLOATS, 1, 3, torch.nan)}, "targets hold NaN"),
    "inputs of NaN": (
        {"tokens": None, "inputs": with_value(REAL, 0, 1, torch.nan)}, "inputs hold NaN",
    ),
    "labels of others": ({"labels": {"a": torch.zeros(3)}}, "labels 'a' has 3 entries"),
    "words of others": ({"words": (("a",),)}, "words has 1 entries"),
    "trees of others": ({"trees": ((0, 1),)}, "trees has 1 entries"),
    "a tree with a gap": ({"trees": ((0, 2), (1, 2))}, r"trees\[0\] has the leaves \[0, 2\]"),
    "a tree out of order": ({"trees": ((0, 1), (2, 1))}, r"trees\[1\] has the leaves \[2, 1\]"),
    "a tree of words": ({"trees": (("a", "b"), (1, 2))}, r"trees\[0\] has the leaves \['a'"),
    "a tree of nothing": ({"trees": ((), (1, 2))}, r"trees\[0\] has the leaves \[\]"),
    "a tree in the padding": ({"trees": ((2, 3), (1, 2))}, r"trees\[0\] spans the positions 2"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_contradicts_itself_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        changed(**changes)


def test_targets_that_are_not_scored_may_be_anything():
    targets = torch.full((2, 4), -1)
    targets[LAST] = 3
    assert len(changed(targets=targets)) == 2


def test_padding_on_the_left_is_refused_in_words():
    with pytest.raises(ValueError, match="move padding that is on the left behind"):
        changed(lengths=torch.tensor([4, 2]), trees=None)


def test_a_token_that_the_model_does_not_have_is_refused():
    with pytest.raises(ValueError, match="tokens hold 8: ids are 0 to 7, as the model has"):
        Snapshot.of(random_model(), unread(tokens=torch.tensor([[1, 2, 8]])))


def unread(**changes) -> Examples:
    tokens = torch.tensor([[1, 2, 7]])
    scored = torch.tensor([[False, False, True]])
    given: dict[str, Any] = {"targets": 0 * tokens, "scored": scored, "tokens": tokens}
    return Examples(**(given | changes))


def test_a_class_that_the_model_does_not_have_is_refused_where_it_is_scored():
    model = random_model()
    assert Snapshot.of(model, unread(targets=torch.tensor([[9, 0, 6]]))).logits().isfinite().all()
    with pytest.raises(ValueError, match="targets hold 7: ids are 0 to 6, as the model has"):
        Snapshot.of(model, unread(targets=torch.tensor([[0, 0, 7]])))


def test_a_class_beyond_the_outputs_that_answer_is_refused():
    examples = unread(targets=torch.tensor([[0, 0, 5]]), facts=Facts(outputs=5))
    with pytest.raises(ValueError, match="targets hold 5: ids are 0 to 4"):
        Snapshot.of(random_model(), examples)


def test_some_of_the_examples_are_made_without_a_check_of_all(monkeypatch):
    examples = changed()
    monkeypatch.setattr(Examples, "__post_init__", lambda self: pytest.fail("checked again"))
    some = examples.at(torch.tensor([1]))
    assert some.trees == (((1, 2), 3),)
    np.testing.assert_array_equal(some.model_inputs, TOKENS[1:])


def test_examples_show_how_many_they_are_and_their_labels():
    labels = {"b": torch.tensor([2, 5]), "a": torch.tensor([1, 3])}
    tokens = torch.tensor([[1, 2, 7], [3, 5, 7]])
    examples = Examples(tokens, tokens > 0, tokens, labels=labels)
    assert repr(examples) == "Examples(2 of 3 tokens, labels a, b)"


def test_facts_of_a_kind_are_given_or_refused_with_those_there_are():
    facts = Facts(groups=(PromptFacts(pairs=3), FunctionFacts(d=2)))
    assert facts(PromptFacts).pairs == 3
    assert facts.get(ModularFacts) is None
    message = "facts has no ModularFacts; this task provides: PromptFacts, FunctionFacts"
    with pytest.raises(ValueError, match=message):
        facts(ModularFacts)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Facts, {"groups": (PromptFacts(1), PromptFacts(2))}, "groups: give one of each kind"),
        (Facts, {"chance": 1.5}, r"chance 1\.5: give a share of answers, 0 to 1"),
        (InputFacts, {"names": ("a", "b"), "relevant": (True,)}, "one for each of 2 inputs"),
        (
            MixtureFacts,
            {"classes": ("dense",), "shares": (), "splits": (), "inside": {}},
            "shares: give one for each of 1 classes",
        ),
    ],
)
def test_facts_that_contradict_themselves_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_without_linear_classes_and_waves_no_features_are_known():
    assert not FunctionFacts(d=1).has_features
    assert FunctionFacts(d=1, wave_features=(2.0,)).has_features
