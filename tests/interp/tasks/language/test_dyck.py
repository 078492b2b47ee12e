import math

import numpy as np
import pytest
import torch
from torch.func import vmap

from hooks import Snapshot
from interp.randomness import generator
from interp.tasks.language.dyck import Dyck
from tests.interp.tasks import trees
from tests.interp.tasks.brackets import partners, structures
from tests.interp.tasks.samples import shares, unlike
from tests.planted import random_model

SMALL = Dyck(k=4, depth=4, train_lines=400, validation_lines=60, generalization_lines=40)
SHORT = SMALL.model_copy(update={"n_ctx": 16})
PIECES = [("pieces", True), ("string", False)]


@pytest.fixture(scope="module")
def published():
    """All 20,000 lines a split, as published."""
    return Dyck(validation_lines=20_000, generalization_lines=20_000)


def strings(task, split):
    """Ids of each string's brackets."""
    examples = task.examples(split, None, 0)
    rows = zip(examples.tokens.tolist(), examples.lengths.tolist(), strict=True)
    return [row[1:length] for row, length in rows]


# Figures of the published validation strings, 20,000 of them, and of the rules run once before.
def test_training_strings_have_the_lengths_of_the_rules(published):
    lengths = published._lines("train", generator(0, 0)).lengths
    # Standard error of the mean 0.18.
    assert lengths.mean() == pytest.approx(50.0, abs=1)
    assert np.percentile(lengths, [50, 90, 99]) == pytest.approx([14, 148, 372], rel=0.03)
    assert (lengths >= 200).mean() == pytest.approx(0.059, abs=0.003)


def test_validation_strings_have_the_published_lengths_and_depths(published):
    found = published._lines("validation", generator(0, 0))
    deepest = [
        np.cumsum(np.where(np.frombuffer(key, np.uint8) <= 20, 1, -1)).max()
        for key in found.row_keys()
    ]
    expected = {1: 0.0637, 2: 0.3127, 3: 0.3016, 4: 0.1888, 5: 0.0902, 6: 0.033}
    depths = {depth: share for depth, share in shares(deepest).items() if depth <= 6}
    assert not unlike(depths, expected, 20_000, 20_000)
    assert found.lengths.mean() == pytest.approx(13.267, abs=0.36)  # 5 standard errors
    assert np.percentile(found.lengths, [0, 50, 90, 99]).tolist() == [6, 12, 22, 38]


def test_generalization_strings_are_long(published):
    lengths = published._lines("generalization", generator(0, 0)).lengths
    assert lengths.mean() == pytest.approx(116.5, abs=4)  # 5 standard errors
    assert np.median(lengths) == pytest.approx(86, abs=4)
    assert lengths.min() >= 14


def test_brackets_of_all_types_are_as_frequent(published):
    brackets = published._lines("validation", generator(0, 0)).brackets
    found = np.bincount(brackets, minlength=41)[1:] / len(brackets)
    assert np.abs(found - 1 / 40).max() < 0.0007  # the published ones keep within 0.0005


def test_the_scored_strings_hold_about_5000_closing_brackets():
    for split in ("validation", "generalization"):
        closing = (Dyck().examples(split, None, 0).label("distance") > 0).sum()
        assert 4000 < int(closing) < 6500


@pytest.mark.parametrize(("structure", "in_pieces"), PIECES)
def test_validation_strings_hold_known_structures_and_generalization_strings_others(
    structure, in_pieces
):
    task = SMALL.model_copy(update={"structure": structure})
    train = strings(task, "train")
    known = set().union(*(structures(each, 4, in_pieces) for each in train))
    assert all(structures(each, 4, in_pieces) <= known for each in strings(task, "validation"))
    unseen = [structures(each, 4, in_pieces) - known for each in strings(task, "generalization")]
    assert all(unseen)


def test_no_string_is_trained_on_and_tested():
    train = {tuple(each) for each in strings(SMALL, "train")}
    for split in ("validation", "generalization"):
        assert not train & {tuple(each) for each in strings(SMALL, split)}


def test_ids_are_brackets_that_open_then_those_that_close():
    assert Dyck(k=2).vocabulary == ("PAD", "(a", "(b", "a)", "b)", "EOS", "SOS")
    assert Dyck().sizes.d_vocab == 43


def test_the_depth_label_counts_open_brackets():
    examples = SMALL.examples("generalization", None, 0)
    for row, brackets in enumerate(strings(SMALL, "generalization")):
        depth = np.cumsum([0, *(1 if bracket <= 4 else -1 for bracket in brackets)])
        padding = [0] * (examples.model_inputs.shape[1] - len(depth))
        assert examples.label("depth")[row].tolist() == [*depth.tolist(), *padding]
        assert int(examples.label("deepest")[row]) == depth.max()
        assert int(examples.label("brackets")[row]) == len(brackets)


def test_examples_hold_trees_over_positions():
    examples = SMALL.examples("train", 50, 0)
    lengths = examples.label("brackets").tolist()
    assert [trees.leaves(tree) for tree in examples.trees or ()] == [
        list(range(1, length + 1)) for length in lengths
    ]


def test_flat_strings_go_from_sos_to_eos():
    flat = SMALL.flat(generator(0, 0))
    found = [each.tolist() for each in flat["flat"].tensor_split(flat["offsets"][1:-1])]
    assert found == [[10, *brackets, 9] for brackets in strings(SMALL, "train")]


def test_longer_strings_are_cut_and_their_end_is_not_predicted():
    flat, whole = SHORT.flat(generator(0, 0)), strings(SMALL, "train")
    found = [each.tolist() for each in flat["flat"].tensor_split(flat["offsets"][1:-1])]
    assert found == [[10, *brackets, 9][:16] for brackets in whole]
    assert max(map(len, whole)) > 14


def test_trees_of_cut_strings_hold_what_is_left():
    examples = SHORT.examples("train", None, 0)
    assert all(map(trees.is_binary, examples.trees or ()))
    lengths = [len(trees.leaves(tree)) for tree in examples.trees or ()]
    assert lengths == (examples.visible.sum(1) - 1).tolist()
    assert max(lengths) == 14


def test_longer_strings_are_left_out_if_asked():
    task = SHORT.model_copy(update={"longer": "leave_out"})
    train = strings(task, "train")
    assert (len(train), max(map(len, train))) == (400, 14)
    assert all(partners(each, 4) for each in train)


def test_no_line_is_longer_than_n_ctx():
    flat = SHORT.flat(generator(0, 0))
    assert int(flat["offsets"].diff().max()) == SHORT.widths[-1] == SHORT.sizes.n_ctx == 16


def test_more_strings_begin_with_the_same_ones():
    more = SMALL.model_copy(update={"train_lines": 20_000})
    few, many = (each._lines("train", generator(0, 0)).row_keys() for each in (SMALL, more))
    assert many[:400] == few


def graded(task, examples, said):
    logits = torch.nn.functional.one_hot(said, task.sizes.d_vocab).double()
    batch = {"targets": examples.targets, "scored": examples.scored}
    return {name: float(value) for name, value in task.grade(logits, batch).items()}


def test_the_right_bracket_is_right():
    examples = SMALL.examples("generalization", None, 0)
    found = graded(SMALL, examples, examples.targets)
    assert (found["accuracy"], found["far_accuracy"]) == (1, 1)


def test_only_far_partners_count_for_the_accuracy_of_the_paper():
    examples = SMALL.examples("generalization", None, 0)
    distance = examples.label("distance")
    other = torch.where(examples.targets == 5, 6, 5)
    said = torch.where((distance > 0) & (distance < 10), other, examples.targets)
    found = graded(SMALL, examples, said)
    share = (distance >= 10).sum() / (distance > 0).sum()
    assert found["far_accuracy"] == 1
    assert found["accuracy"] == pytest.approx(float(share))


def test_only_closing_brackets_compete():
    examples = SMALL.examples("validation", None, 0)
    logits = torch.nn.functional.one_hot(examples.targets, 11).double()
    logits[..., 1] = 2.0
    batch = {"targets": examples.targets, "scored": examples.scored}
    assert float(SMALL.grade(logits, batch)["accuracy"]) == 1


def test_without_far_partners_their_accuracy_is_undefined():
    task = Dyck(k=1, depth=1, train_lines=20)
    examples = task.examples("train", None, 0)
    found = graded(task, examples, examples.targets)
    assert found["accuracy"] == 1
    assert math.isnan(found["far_accuracy"])


def test_grades_of_a_stack_are_those_of_its_members():
    examples = [SMALL.examples("generalization", None, 0)] * 2
    batch = {"targets": examples[0].targets, "scored": examples[0].scored}
    logits = torch.randn(2, *batch["targets"].shape, 11, generator=generator(0)).double()
    alone = [SMALL.grade(each, batch) for each in logits]
    shared = vmap(SMALL.grade, in_dims=(0, None))(logits, batch)
    own = {name: torch.stack([value] * 2) for name, value in batch.items()}
    for together in (shared, vmap(SMALL.grade)(logits, own)):
        for name in together:
            torch.testing.assert_close(together[name], torch.stack([each[name] for each in alone]))


def test_equal_logits_lose_log_of_the_vocabulary():
    examples = SMALL.examples("validation", None, 0)
    logits = torch.zeros(*examples.targets.shape, 11, dtype=torch.float64)
    batch = {"targets": examples.targets, "scored": examples.scored}
    assert float(SMALL.grade(logits, batch)["loss"]) == pytest.approx(math.log(11))


def test_a_score_is_the_grade():
    examples = SMALL.examples("validation", None, 0)
    snapshot = Snapshot.of(random_model(SMALL.sizes), examples)
    batch = {"targets": examples.targets, "scored": examples.scored}
    expected = SMALL.grade(snapshot.logits(), batch)
    assert SMALL.score(snapshot) == pytest.approx({k: float(v) for k, v in expected.items()})


@pytest.mark.parametrize(
    ("options", "split", "message"),
    [
        ({"k": 2, "depth": 1}, "generalization", "generalization_lines 86: only 0 such strings"),
        ({"k": 1, "depth": 1, "train_lines": 4000}, "validation", "validation_lines 784: only"),
    ],
)
def test_strings_that_are_too_rare_are_refused(options, split, message, monkeypatch):
    monkeypatch.setattr("interp.tasks.language.dyck.MAX_CHUNKS", 2)
    with pytest.raises(ValueError, match=message):
        Dyck.model_validate(options).examples(split, None, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 27}, "less than or equal to 26"),
        ({"depth": 0}, "greater than or equal to 1"),
        ({"n_ctx": 4}, "greater than or equal to 8"),
        ({"longer": "keep"}, "'cut' or 'leave_out'"),
        ({"structure": "word"}, "'pieces' or 'string'"),
        ({"train_lines": None}, "train_lines must be given where no files are read"),
    ],
)
def test_a_task_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Dyck.model_validate(options)
