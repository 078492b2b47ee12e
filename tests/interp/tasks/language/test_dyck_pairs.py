import pytest
import torch

from hooks.circuits.pairs import Pairs
from interp.tasks.language.dyck import Dyck
from tests.interp.tasks.said import said

K = 4
TASK = Dyck(k=K, depth=5, train_lines=4000, validation_lines=150, generalization_lines=60, n_ctx=64)
ALL = [(split, change) for split in TASK.splits for change in TASK.changes]


def pairs_of(split: str, change: str) -> Pairs:
    return TASK.input_pairs(split, 150, 0, change)


def brackets_of(examples) -> list[list[int]]:
    rows = zip(examples.model_inputs.tolist(), examples.visible.sum(1).tolist(), strict=True)
    return [row[1:length] for row, length in rows]


def stack_of(brackets: list[int]) -> list[tuple[int, int]]:
    """Positions and types of the brackets that are open after a prefix; fails if it is none."""
    stack: list[tuple[int, int]] = []
    for position, bracket in enumerate(brackets, 1):
        assert 1 <= bracket <= 2 * K
        if bracket <= K:
            stack.append((position, bracket))
        else:
            assert stack.pop()[1] == bracket - K
    assert len(stack) <= TASK.depth
    return stack


@pytest.mark.parametrize(("split", "change"), ALL)
def test_both_strings_are_prefixes_and_the_answer_closes_what_was_opened_last(split, change):
    pairs = pairs_of(split, change)
    assert len(pairs) > 40
    right, wrong = (classes.tolist() for classes in pairs.classes)
    for row, both in enumerate(
        zip(brackets_of(pairs.clean), brackets_of(pairs.corrupted), strict=True)
    ):
        (place, opened), (other_place, other) = (stack_of(brackets)[-1] for brackets in both)
        assert place == other_place == pairs.roles["opener"][row]
        assert right[row] == opened + K
        if change == "closed":
            assert other == opened
            assert K < wrong[row] <= 2 * K
        else:
            assert wrong[row] == other + K
    assert torch.equal(pairs.clean.targets[pairs.clean.scored], pairs.classes[0])
    assert pairs.control == (change == "closed")


@pytest.mark.parametrize("split", TASK.splits)
def test_another_type_of_the_opener_is_all_that_differs(split):
    pairs = pairs_of(split, "type")
    differs = pairs.clean.model_inputs != pairs.corrupted.model_inputs
    assert (differs.sum(1) == 1).all()
    assert torch.equal(differs.int().argmax(1), pairs.roles["opener"])
    assert (pairs.roles["opener"] < pairs.roles["query"]).all()
    assert torch.equal(pairs.roles["query"], pairs.position)


@pytest.mark.parametrize("split", TASK.splits)
def test_both_brackets_of_a_closed_pair_are_changed_in_controls(split):
    pairs = pairs_of(split, "closed")
    differs = pairs.clean.model_inputs != pairs.corrupted.model_inputs
    assert (differs.sum(1) == 2).all()
    opener, closer = pairs.roles["closed opener"], pairs.roles["closed closer"]
    row = torch.arange(len(pairs))
    assert differs[row, opener].all()
    assert differs[row, closer].all()
    assert (opener < closer).all()


def test_the_prompts_are_beginnings_of_the_splits_lines():
    pairs = pairs_of("generalization", "type")
    lines = list(said(TASK.examples("generalization", 150, 0)))
    for words in said(pairs.clean):
        assert any(line[: len(words)] == words for line in lines)
        assert words[0] == "SOS"


def test_labels_and_trees_are_those_of_the_prefix():
    pairs = pairs_of("train", "type")
    trees = pairs.clean.trees or ()
    for row, brackets in enumerate(brackets_of(pairs.clean)):
        depth = pairs.clean.label("depth")[row]
        assert depth[len(brackets)] == len(stack_of(brackets))
        assert not depth[len(brackets) + 1 :].any()
        assert pairs.clean.label("brackets")[row] == len(brackets)
        assert leaves(trees[row]) == list(range(1, len(brackets) + 1))
        distance = pairs.clean.label("distance")[row, pairs.position[row]]
        assert distance == pairs.position[row] + 1 - pairs.roles["opener"][row]


def leaves(tree) -> list[int]:
    return [tree] if isinstance(tree, int) else [leaf for part in tree for leaf in leaves(part)]


def test_new_types_are_uniform():
    for change in TASK.changes:
        right, wrong = TASK.input_pairs("train", 900, 0, change).classes
        counts = ((wrong - right) % K).bincount(minlength=K)
        expected = len(right) / (K - 1)
        assert counts[0] == 0
        assert ((counts[1:] - expected).abs() < 5 * expected**0.5).all()


def test_a_string_that_was_cut_may_be_answered_at_its_last_position():
    task = TASK.model_copy(update={"n_ctx": 12})
    pairs = task.input_pairs("generalization", None, 0, "type")
    assert pairs.position.max() == 10  # of 12 tokens 11 are fed
    stacks = [stack_of(brackets)[-1][1] for brackets in brackets_of(pairs.corrupted)]
    assert pairs.classes[1].tolist() == [opened + K for opened in stacks]


def test_one_type_of_bracket_cannot_be_changed():
    with pytest.raises(ValueError, match="k is 1: there is no other type of bracket to change to"):
        Dyck(k=1, depth=9, train_lines=50, validation_lines=1, generalization_lines=1).input_pairs(
            "train", 9, 0
        )
