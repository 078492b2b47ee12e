"""Pairs of prompts that answer from examples: functions, factor labels, hidden rules of words."""

import pytest
import torch

from hooks.circuits.pairs import Pairs
from interp.tasks.base import Task
from interp.tasks.functions.families import Dense, Sparse
from interp.tasks.functions.function_classes import FunctionClasses
from interp.tasks.functions.simple import SimpleFunction
from interp.tasks.pairing import permuted
from interp.tasks.word_selection import PLAIN, WORDS, WordSelection, rule_names
from tests.interp.tasks.images import shown, task_of
from tests.interp.tasks.said import said

LINEAR = FunctionClasses(d=3, pairs=8, test_prompts=120)
MIXED = FunctionClasses(
    d=3, pairs=8, test_prompts=200, classes=(Dense(), Sparse(nnz=1)), alphas=(1.0, 0.5, 0.0)
)
SIMPLE = SimpleFunction(d=3, pairs=8, test_prompts=120)
FUNCTIONS = (LINEAR, MIXED, SIMPLE)
LABELS = task_of(noise=0.0, held_out=0.0)
SELECTION = WordSelection(pairs=5)
LENGTHS = {word: len(word) for words in WORDS.values() for word in words}


def in_context(pairs: Pairs) -> torch.Tensor:
    """Which positions differ, but for the last."""
    differs = pairs.clean.model_inputs != pairs.corrupted.model_inputs
    return differs.flatten(2).any(2)[:, :-1] if differs.ndim == 3 else differs[:, :-1]


def blocks(inputs: torch.Tensor, size: int) -> list[list[str]]:
    """The examples of each prompt, as text, in order."""
    count = inputs.shape[1] // size
    return [[str(row[size * i : size * (i + 1)].tolist()) for i in range(count)] for row in inputs]


@pytest.mark.parametrize("task", FUNCTIONS)
@pytest.mark.parametrize("change", LINEAR.changes)
def test_prompts_of_functions_are_those_of_the_split_up_to_the_last_x(task, change):
    for split in task.splits:
        pairs, every = task.input_pairs(split, None, 0, change), task.examples(split, None, 0)
        assert len(pairs) > 100
        inputs = every.model_inputs[:, :-1]
        rows = (pairs.clean.model_inputs[:, None] == inputs).flatten(2).all(2).int().argmax(1)
        assert torch.equal(pairs.clean.model_inputs, inputs[rows])
        for name, values in every.labels.items():
            assert torch.equal(pairs.clean.label(name), values[rows])
        assert pairs.clean.scored[:, -1].all()
        assert pairs.clean.scored.sum() == len(pairs)
        assert (pairs.position == 14).all()
        assert pairs.right is None


@pytest.mark.parametrize("task", FUNCTIONS)
def test_one_example_comes_from_another_prompt_of_its_group(task):
    for split in task.splits:
        pairs, every = task.input_pairs(split, None, 0, "example"), task.examples(split, None, 0)
        x, y, row = (
            pairs.roles["example x"], pairs.roles["example y"], torch.arange(len(pairs)),
        )  # fmt: skip
        differs = in_context(pairs)
        assert (differs.sum(1) == 2).all()
        assert differs[row, x].all()
        assert differs[row, y].all()
        given = pairs.corrupted.model_inputs[row, x]
        match = (given[:, None] == every.model_inputs.permute(1, 0, 2)[x]).all(2)
        assert (match.sum(1) == 1).all()
        partner = match.int().argmax(1)
        assert torch.equal(pairs.corrupted.model_inputs[row, y], every.model_inputs[partner, y])
        for name in {"class", "alpha", "scale", "nnz"} & every.labels.keys():
            assert torch.equal(every.label(name)[partner], pairs.clean.label(name))
        assert torch.equal(pairs.corrupted.targets, pairs.clean.targets)
        assert len(x.unique()) == 7


@pytest.mark.parametrize("task", FUNCTIONS)
def test_another_query_is_answered_by_the_same_function(task):
    for split in task.splits:
        pairs = task.input_pairs(split, None, 0, "query")
        assert not in_context(pairs).any()
        clean, corrupted = pairs.clean.model_inputs.double(), pairs.corrupted.model_inputs
        x, y = clean[:, :14:2], clean[:, 1:14:2, :1]
        coefficients = torch.linalg.lstsq(x, y).solution
        for inputs, targets in ((clean, pairs.clean), (corrupted.double(), pairs.corrupted)):
            wanted = (inputs[:, -1:] @ coefficients)[:, 0, 0]
            torch.testing.assert_close(
                wanted, targets.targets[:, -1].double(), rtol=1e-3, atol=1e-3
            )
        assert (pairs.clean.targets[:, -1] != pairs.corrupted.targets[:, -1]).all()


def test_labels_of_another_query_are_its_own():
    pairs = SIMPLE.input_pairs("test", None, 0, "query")
    for i in range(3):
        assert torch.equal(pairs.corrupted.label(f"x_{i}"), pairs.corrupted.model_inputs[:, -1, i])


@pytest.mark.parametrize(("task", "size"), [(LINEAR, 2), (SIMPLE, 2), (LABELS, 2), (SELECTION, 7)])
def test_controls_have_the_same_examples_in_another_order(task, size):
    pairs = task.input_pairs("test", None, 0, "permute")
    assert pairs.control
    assert len(pairs) > 50
    clean, corrupted = (x.model_inputs for x in (pairs.clean, pairs.corrupted))
    for before, after in zip(blocks(clean, size), blocks(corrupted, size), strict=True):
        assert before != after
        assert sorted(before) == sorted(after)
    rest = clean.shape[1] // size * size
    assert torch.equal(clean[:, rest:], corrupted[:, rest:])
    assert torch.equal(pairs.clean.targets, pairs.corrupted.targets)


def test_all_orders_are_alike_likely():
    inputs = torch.arange(7).expand(6000, 7)
    orders = permuted(inputs, 2, 0)
    assert (orders[:, 6] == 6).all()
    counts = (orders[:, 0] // 2 * 3 + orders[:, 2] // 2).bincount(minlength=9)
    counts = counts[counts > 0]
    assert len(counts) == 6
    assert ((counts - 1000).abs() < 5 * 1000**0.5).all()


def labels_of(pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    clean, corrupted = (x.model_inputs[:, 1::2].argmax(2) for x in (pairs.clean, pairs.corrupted))
    return clean, corrupted


def values_of(pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    """The value of the asked factor in each image, the last included, read off the vectors."""
    asked, row = pairs.clean.label("factor"), torch.arange(len(pairs))
    clean, corrupted = (
        shown(LABELS, {"inputs": x.model_inputs})[row, :, asked]
        for x in (pairs.clean, pairs.corrupted)
    )
    return clean, corrupted


@pytest.mark.parametrize("split", LABELS.splits)
def test_the_only_example_of_the_last_value_gets_another_label(split):
    pairs = LABELS.input_pairs(split, None, 0, "example")
    (labels, others), (values, same) = labels_of(pairs), values_of(pairs)
    row, place = torch.arange(len(pairs)), pairs.roles["example label"]
    assert len(pairs) > 50
    assert torch.equal(values, same)
    assert torch.equal((values[:, :-1] == values[:, -1:]).int(), (labels != others).int())
    assert ((labels != others).sum(1) == 1).all()
    right, wrong = pairs.classes
    assert torch.equal(labels[row, place // 2], right)
    assert torch.equal(others[row, place // 2], wrong)
    assert torch.equal(pairs.clean.targets[:, -1], right)
    assert torch.equal(pairs.corrupted.targets[:, -1], wrong)
    counts = torch.tensor(LABELS.values)[pairs.clean.label("factor")]
    assert (wrong < counts).all()
    assert (pairs.corrupted.label("map") == -1).all()


@pytest.mark.parametrize("split", LABELS.splits)
def test_two_labels_change_places(split):
    pairs = LABELS.input_pairs(split, None, 0, "exchange")
    labels, others = labels_of(pairs)
    right, wrong = (classes[:, None] for classes in pairs.classes)
    wanted = torch.where(labels == right, wrong, torch.where(labels == wrong, right, labels))
    assert torch.equal(others, wanted)
    assert (labels == right).any(1).all()
    assert ((labels == wrong).any(1)).any()


@pytest.mark.parametrize("split", LABELS.splits)
def test_another_image_has_another_label_under_the_same_map(split):
    task = LABELS.model_copy(update={"pairs": 12, "repeats": True})
    pairs = task.input_pairs(split, None, 0, "query")
    assert not in_context(pairs).any()
    (labels, _), (values, others) = labels_of(pairs), values_of(pairs)
    answerable = 0
    for row in range(len(pairs)):
        by_value = dict(zip(values[row, :-1].tolist(), labels[row].tolist(), strict=True))
        assert by_value[int(values[row, -1])] == pairs.classes[0][row]
        if int(others[row, -1]) in by_value:
            answerable += 1
            assert by_value[int(others[row, -1])] == pairs.classes[1][row]
    assert answerable > 100
    for name in LABELS.names:
        factor = LABELS.names.index(name)
        assert torch.equal(
            pairs.corrupted.label(name),
            shown(LABELS, {"inputs": pairs.corrupted.model_inputs})[:, -1, factor],
        )


def test_another_image_is_new_to_a_prompt_that_shows_none_twice():
    pairs = LABELS.input_pairs("test", None, 0, "query")
    inputs = pairs.corrupted.model_inputs
    assert not (inputs[:, :-1:2] == inputs[:, -1:]).all(2).any()
    assert len(pairs) > 100


def test_the_example_of_a_role_shows_the_last_images_value():
    for change in LABELS.changes:
        pairs = LABELS.input_pairs("test", None, 0, change)
        values, row = values_of(pairs)[0], torch.arange(len(pairs))
        image = pairs.roles["example image"]
        assert torch.equal(values[row, image // 2], values[:, -1])
        later = torch.arange(values.shape[1] - 1) > image[:, None] // 2
        assert not ((values[:, :-1] == values[:, -1:]) & later).any()
        assert torch.equal(pairs.roles["example label"], image + 1)
        assert torch.equal(pairs.roles["query"], pairs.position)


def answered(words: tuple[str, ...]) -> list[tuple[list[str], str]]:
    """The lists of a prompt with their answers, empty for the last."""
    text = " ".join(words).split(" ; ")
    parts = [part.split(" -> ") for part in text[:-1]] + [[text[-1].removesuffix(" ->"), ""]]
    return [(part[0].split(), part[1]) for part in parts]


def chosen(rule: str, words: list[str]) -> str | None:
    kind, _, value = rule.partition(" ")
    if kind == "position":
        return words[int(value) - 1]
    if kind == "length":
        return (min if value == "shortest" else max)(words, key=LENGTHS.__getitem__)
    return next((word for word in words if word in WORDS[value]), None)


def test_answers_are_those_of_another_rule():
    pairs = SELECTION.input_pairs("test", None, 0, "rule")
    names = rule_names(SELECTION.rules)
    assert len(pairs) == 500
    for row, both in enumerate(zip(said(pairs.clean), said(pairs.corrupted), strict=True)):
        lists = []
        for examples, words, answer in zip(
            (pairs.clean, pairs.corrupted), both, pairs.classes, strict=True
        ):
            rule = names[int(examples.label("rule")[row])]
            *shown_lists, (last, _) = answered(words)
            lists.append([words for words, _ in shown_lists] + [last])
            assert all(chosen(rule, words) == word for words, word in shown_lists)
            assert chosen(rule, last) == PLAIN.names[int(answer[row])]
            assert chosen(rule, last) == last[int(examples.label("answer")[row])]
        assert lists[0] == lists[1]
        assert both[0] != both[1]


def test_a_rule_of_category_is_taken_only_where_each_list_has_it():
    pairs = WordSelection(pairs=3, rules=("category",)).input_pairs("test", None, 0, "rule")
    names = rule_names(("category",))
    for row, words in enumerate(said(pairs.corrupted)):
        rule = names[int(pairs.corrupted.label("rule")[row])]
        assert all(chosen(rule, each) is not None for each, _ in answered(words))


@pytest.mark.parametrize("change", SELECTION.changes)
def test_roles_of_words_are_the_answers_and_the_query(change):
    pairs = SELECTION.input_pairs("test", None, 0, change)
    row = torch.arange(len(pairs))
    tokens, (right, wrong) = pairs.clean.model_inputs, pairs.classes
    assert torch.equal(tokens[row, pairs.roles["right word"]], right)
    assert torch.equal(tokens[row, pairs.roles["wrong word"]], wrong)
    assert (tokens[row, pairs.roles["query"]] == PLAIN.arrow[0]).all()
    answers = [answered(words)[-2][1] for words in said(pairs.clean)]
    assert [PLAIN.names[int(token)] for token in tokens[row, pairs.roles["last answer"]]] == answers


@pytest.mark.parametrize("task", [LINEAR, SIMPLE, LABELS, SELECTION])
def test_the_seed_decides_pairs_of_prompts(task: Task):
    for change in task.changes:
        first, again, other = (task.input_pairs("test", 20, seed, change) for seed in (0, 0, 1))
        assert len(first) <= 20
        assert torch.equal(first.corrupted.model_inputs, again.corrupted.model_inputs)
        assert first.corrupted.model_inputs.shape != other.corrupted.model_inputs.shape or (
            not torch.equal(first.corrupted.model_inputs, other.corrupted.model_inputs)
        )


@pytest.mark.parametrize("task", [LINEAR, SIMPLE, SELECTION, LABELS])
def test_one_example_has_no_other_order(task):
    with pytest.raises(ValueError, match="change 'permute': no two inputs of the split test"):
        task.model_copy(update={"pairs": 2}).input_pairs("test", None, 0, "permute")
