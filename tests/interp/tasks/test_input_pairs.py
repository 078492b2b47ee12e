import pytest
import torch
from torch import Tensor

from hooks import Examples
from interp.tasks import TASKS
from interp.tasks.bit_parity import BitParity
from interp.tasks.factors.factor_labels import FactorLabels
from interp.tasks.from_file.file_examples import FileExamples
from interp.tasks.functions.function_classes import FunctionClasses
from interp.tasks.functions.simple import SimpleFunction
from interp.tasks.language.dyck import Dyck
from interp.tasks.language.question_formation import QuestionFormation
from interp.tasks.language.tense_inflection import TenseInflection
from interp.tasks.modular_arithmetic import ModularArithmetic
from interp.tasks.word_selection import WordSelection

LANGUAGE = ("question_formation", "tense_inflection", "dyck")
SMALL = {
    "modular_arithmetic": ModularArithmetic(p=7),
    "question_formation": QuestionFormation(train_lines=500, generalization_lines=200),
    "tense_inflection": TenseInflection(train_lines=500, generalization_lines=200),
    "dyck": Dyck(k=3, train_lines=500, validation_lines=20, generalization_lines=20),
    "function_classes": FunctionClasses(d=2, pairs=5, test_prompts=80),
    "simple_function": SimpleFunction(d=2, pairs=5, test_prompts=80),
    "factor_labels": FactorLabels(pairs=5, test_prompts=200, d=16),
    "word_selection": WordSelection(pairs=4),
}
ADD = ModularArithmetic(p=7, train_fraction=0.6)


def numbers(examples: Examples) -> list[Tensor]:
    return [examples.label(name) for name in "abc"]


@pytest.mark.parametrize("split", ["all", "train", "test"])
@pytest.mark.parametrize("change", ["both", "a", "b"])
def test_numbers_change_within_the_split_and_so_does_the_answer(split, change):
    pairs = ADD.input_pairs(split, None, 0, change)
    (a, b, c), (a2, b2, c2) = map(numbers, (pairs.clean, pairs.corrupted))
    assert torch.equal(a != a2, torch.full_like(a, change in ("a", "both"), dtype=torch.bool))
    assert torch.equal(b != b2, torch.full_like(b, change in ("b", "both"), dtype=torch.bool))
    assert (c != c2).all()
    right, wrong = pairs.classes
    assert torch.equal(right, c)
    assert torch.equal(wrong, c2)
    assert [*pairs.roles] == ["a", "b", "="]
    tokens = pairs.clean.model_inputs.T
    for name, place in pairs.roles.items():
        wanted = {"a": a, "b": b, "=": torch.full_like(a, 7)}[name]
        assert torch.equal(tokens[place, torch.arange(len(pairs))], wanted)
    if split != "all":
        for examples in (pairs.clean, pairs.corrupted):
            assert (examples.label("train") == (split == "train")).all()


def test_swapped_numbers_are_controls():
    pairs = ADD.input_pairs("all", None, 0, "swap")
    (a, b, c), (a2, b2, c2) = map(numbers, (pairs.clean, pairs.corrupted))
    assert len(pairs) == 42  # all but a = b
    assert pairs.control
    assert torch.equal(a, b2)
    assert torch.equal(b, a2)
    assert torch.equal(c, c2)
    right, wrong = pairs.classes
    assert (right != wrong).all()


def test_swapping_what_is_subtracted_is_no_control():
    task = ModularArithmetic(p=7, operation="subtract")
    with pytest.raises(ValueError, match="change 'swap': no two inputs of the split all differ so"):
        task.input_pairs("all", None, 0, "swap")


def test_partners_are_uniform():
    pairs = [ADD.input_pairs("all", None, seed, "a") for seed in range(300)]
    steps = torch.cat([(each.corrupted.label("a") - each.clean.label("a")) % 7 for each in pairs])
    counts = steps.bincount(minlength=7)
    expected = len(steps) / 6
    assert counts[0] == 0
    assert ((counts[1:] - expected).abs() < 5 * expected**0.5).all()


def test_the_seed_decides():
    first, again, other = (ADD.input_pairs("all", 20, seed) for seed in (0, 0, 1))
    assert torch.equal(first.corrupted.model_inputs, again.corrupted.model_inputs)
    assert not torch.equal(first.corrupted.model_inputs, other.corrupted.model_inputs)
    assert first.change == "both"


@pytest.mark.parametrize("coding", ["zero_one", "plus_minus"])
@pytest.mark.parametrize("change", ["relevant", "irrelevant"])
def test_one_bit_is_flipped(change, coding):
    task = BitParity(n=10, k=3, train_sequences=400, test_sequences=300, coding=coding)
    pairs = task.input_pairs("train", None, 0, change)
    differs = pairs.clean.model_inputs[:, 0] != pairs.corrupted.model_inputs[:, 0]
    assert (differs.sum(1) == 1).all()
    place = differs.int().argmax(1)
    assert ((place < 3) == (change == "relevant")).all()
    assert place.max() < 10  # never the constant
    same = (pairs.clean.targets == pairs.corrupted.targets).all(1)
    assert (same == (change == "irrelevant")).all()
    right, wrong = pairs.classes
    assert torch.equal(wrong, 1 - right)
    test = {tuple(row) for row in task.examples("test", None, 0).model_inputs[:, 0].tolist()}
    flipped = {tuple(row) for row in pairs.corrupted.model_inputs[:, 0].tolist()}
    assert len(pairs) > 100
    assert not test & flipped


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.changes])
def test_answers_change_and_those_of_controls_stay(name):
    task = SMALL.get(name) or TASKS[name]()
    for change, is_control in task.changes.items():
        pairs = task.input_pairs("generalization" if name in LANGUAGE else "test", 30, 0, change)
        assert (pairs.change, pairs.control) == (change, is_control)
        clean, corrupted = pairs.clean.model_inputs, pairs.corrupted.model_inputs
        assert (clean != corrupted).flatten(1).any(1).all()
        row, n_answers = torch.arange(len(pairs)), pairs.clean.scored.shape[1]
        answer = pairs.position - (clean.shape[1] - n_answers)
        answers, others = (x.targets[row, answer] for x in (pairs.clean, pairs.corrupted))
        if pairs.right is not None:
            right, wrong = pairs.classes
            assert torch.equal(answers, right)
            assert torch.equal(others, right if is_control else wrong)
        else:
            assert torch.equal(answers == others, torch.full_like(row, change != "query") > 0)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.changes])
def test_controls_name_the_roles_of_the_first_change(name):
    task, split = SMALL.get(name) or TASKS[name](), "generalization" if name in LANGUAGE else "test"
    roles = [[*task.input_pairs(split, 30, 0, change).roles] for change in task.changes]
    assert set(roles[0]) <= set(roles[-1])
    assert task.changes[[*task.changes][-1]]


def test_what_cannot_be_paired_is_refused(tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text('{"tokens": [0, 1], "targets": 1}\n' * 2)
    refusal = "the task examples gives no pairs of inputs; make them .*: Pairs.of"
    with pytest.raises(ValueError, match=refusal):
        FileExamples(file=str(file)).input_pairs("all", 4, 0)
    with pytest.raises(ValueError, match="change 'bth' is none of both, a, b, swap; did you mean"):
        ADD.input_pairs("all", None, 0, "bth")
    with pytest.raises(ValueError, match="split 'tset' is none of all, train, test"):
        ADD.input_pairs("tset", None, 0)
    task = BitParity(n=3, k=3, train_sequences=4, test_sequences=4)
    with pytest.raises(ValueError, match="change 'irrelevant': no two inputs of the split test"):
        task.input_pairs("test", None, 0, "irrelevant")
