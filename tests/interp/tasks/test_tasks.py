import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hooks import InputFacts
from hooks.edit import with_weights
from interp.randomness import generator
from interp.tasks.modular_arithmetic import ModularArithmetic

ANSWERS = {
    "add": lambda a, b, p: (a + b) % p,
    "subtract": lambda a, b, p: (a - b) % p,
    "multiply": lambda a, b, p: a * b % p,
    "sum_of_squares": lambda a, b, p: (a**2 + b**2) % p,
}
OPTIONS = {
    "p": st.integers(3, 12),
    "operation": st.sampled_from(sorted(ANSWERS)),
    "ordered": st.booleans(),
    "equals": st.booleans(),
}
DRAWN = st.builds(ModularArithmetic, train_fraction=st.floats(0.2, 0.8), **OPTIONS)
NAMED = st.builds(
    ModularArithmetic,
    train_pairs=st.sets(st.integers(0, 5), min_size=1, max_size=5).map(
        lambda pairs: " ".join(map(str, sorted(pairs)))
    ),
    **OPTIONS,
)
TASKS = DRAWN | NAMED


def rows(tokens):
    return {tuple(row) for row in tokens.tolist()}


@pytest.mark.parametrize("operation", ANSWERS)
def test_the_answer_is_right(operation):
    examples = ModularArithmetic(p=7, operation=operation).examples("all", None, 0)
    expected = [ANSWERS[operation](a, b, 7) for a in range(7) for b in range(7)]
    assert examples.targets[:, -1].tolist() == expected


def test_a_difference_is_never_negative():
    examples = ModularArithmetic(p=7, operation="subtract").examples("all", None, 0)
    assert examples.label("c").min() == 0


def test_only_the_last_position_is_scored():
    examples = ModularArithmetic(p=7).examples("all", None, 0)
    assert examples.scored.sum(0).tolist() == [0, 0, 49]


def test_the_equals_sign_is_token_p():
    assert (ModularArithmetic(p=7).examples("all", None, 0).model_inputs[:, 2] == 7).all()


def test_without_the_equals_sign_there_are_two_positions():
    assert ModularArithmetic(p=7, equals=False).examples("all", None, 0).model_inputs.shape == (
        49,
        2,
    )


def test_unordered_pairs_have_a_up_to_b():
    labels = ModularArithmetic(p=7, ordered=False).examples("all", None, 0).labels
    assert (labels["a"] <= labels["b"]).all()


def test_there_are_p_p_plus_1_over_2_unordered_pairs():
    assert len(ModularArithmetic(p=7, ordered=False).examples("all", None, 0)) == 28


def test_words_spell_the_tokens():
    words = ModularArithmetic(p=7).examples("all", None, 0).words
    assert words is not None
    assert words[9] == ("1", "2", "=")


def test_chance_is_one_in_p():
    assert ModularArithmetic(p=7).facts.chance == 1 / 7


def test_tokens_are_named_where_every_one_is_an_operand():
    assert ModularArithmetic(p=3, equals=False).facts(InputFacts).names == ("0", "1", "2")
    assert ModularArithmetic(p=3).facts.get(InputFacts) is None


def test_sizes_leave_room_for_the_equals_sign():
    sizes = ModularArithmetic(p=7).sizes
    assert (sizes.d_vocab, sizes.d_vocab_out, sizes.n_ctx) == (8, 7, 3)


@given(TASKS, st.integers(0, 2**40))
@settings(max_examples=25, deadline=None)
def test_train_and_test_partition_all_pairs(task, seed):
    train, test = (
        rows(task.examples(split, None, seed).model_inputs) for split in ("train", "test")
    )
    assert (train | test, train & test) == (
        rows(task.examples("all", None, seed).model_inputs),
        set(),
    )


@given(TASKS, st.integers(0, 2**40))
@settings(max_examples=25, deadline=None)
def test_the_train_split_has_the_size_stated(task, seed):
    assert len(task.examples("train", None, seed)) == task.train_count


@given(TASKS, st.integers(0, 2**40))
@settings(max_examples=25, deadline=None)
def test_training_data_are_the_examples_of_the_train_split(task, seed):
    data = task.data(None, generator(seed, 0))
    assert rows(data["tokens"]) == rows(task.examples("train", None, seed).model_inputs)


def test_training_answers_are_those_of_the_examples():
    task = ModularArithmetic(p=7, operation="sum_of_squares")
    data = task.data(None, generator(0, 0))
    a, b = data["tokens"][:, 0], data["tokens"][:, 1]
    assert torch.equal(data["targets"][:, 0], (a**2 + b**2) % 7)


def test_the_train_label_marks_the_train_split():
    task = ModularArithmetic(p=7)
    examples = task.examples("all", None, 0)
    marked = examples.model_inputs[examples.label("train")]
    assert torch.equal(marked, task.examples("train", None, 0).model_inputs)


def test_named_pairs_are_the_train_split_whatever_the_seed():
    task = ModularArithmetic(p=7, train_pairs="0-1 8")
    for seed in (0, 5):
        pairs = task.examples("train", None, seed).model_inputs[:, :2]
        assert pairs.tolist() == [[0, 0], [0, 1], [1, 1]]


def test_named_pairs_are_trained_on_in_random_order():
    task = ModularArithmetic(p=7, train_pairs="0-30")
    first, second = (task.data(None, generator(seed))["tokens"] for seed in (0, 1))
    assert not torch.equal(first, second)


def test_unordered_pairs_are_counted_without_those_left_out():
    task = ModularArithmetic(p=3, ordered=False, train_pairs="0 3")
    assert task.examples("train", None, 0).model_inputs[:, :2].tolist() == [[0, 0], [1, 1]]


@given(TASKS, st.integers(0, 2**40))
@settings(max_examples=25)
def test_a_drawn_split_can_be_named(task, seed):
    examples = task.examples("all", None, seed)
    named = task.with_train(examples.label("train"))
    again = named.examples("all", None, seed + 1)
    assert torch.equal(again.label("train"), examples.label("train"))
    assert torch.equal(again.model_inputs, examples.model_inputs)


@given(DRAWN)
@settings(max_examples=25)
def test_naming_the_split_says_that_none_is_drawn(task):
    named = task.with_train(task.examples("all", None, 0).label("train"))
    assert (task.draws_split, named.draws_split) == (True, False)
    assert named.train_fraction is None


@pytest.mark.parametrize("train", [torch.zeros(49), torch.ones(49), torch.eye(28)[0]])
def test_a_split_without_two_sides_is_not_named(train):
    with pytest.raises(ValueError, match=r"some of 49 pairs are for training, and \d+ were given"):
        ModularArithmetic(p=7).with_train(train.bool())


def test_one_seed_gives_the_same_split():
    first, second = (ModularArithmetic(p=7).examples("train", None, 5) for _ in range(2))
    assert torch.equal(first.model_inputs, second.model_inputs)


def test_another_seed_gives_another_split():
    task = ModularArithmetic(p=7)
    first, second = (task.examples("train", None, seed).model_inputs for seed in (5, 6))
    assert not torch.equal(first, second)


def test_a_count_draws_so_many_examples_of_the_split():
    task = ModularArithmetic(p=7)
    drawn = rows(task.examples("test", 5, 0).model_inputs)
    assert (len(drawn), drawn <= rows(task.examples("test", None, 0).model_inputs)) == (5, True)


def test_a_count_over_the_splits_size_gives_all_of_it():
    assert len(ModularArithmetic(p=7).examples("all", 1000, 0)) == 49


def test_an_unknown_split_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="split 'validation' is none of all, train, test"):
        ModularArithmetic(p=7).examples("validation", None, 0)


def test_equal_logits_have_loss_log_p():
    task = ModularArithmetic(p=7)
    batch = task.data(None, generator(0, 0))
    logits = torch.zeros(task.train_count, 1, 7, dtype=torch.float64)
    assert float(task.loss(logits, batch)) == pytest.approx(math.log(7))


def test_positions_that_are_not_scored_do_not_change_the_loss():
    task = ModularArithmetic(p=7)
    examples = task.examples("all", None, 0)
    batch = {"targets": examples.targets, "scored": examples.scored}
    logits = torch.randn(49, 3, 7, generator=generator(1), dtype=torch.float64)
    expected = task.loss(logits, batch)
    logits[:, :2] += torch.randn(49, 2, 7, generator=generator(2), dtype=torch.float64)
    assert task.loss(logits, batch) == expected


def test_always_answering_zero_is_right_one_time_in_p(snapshot):
    task = ModularArithmetic(p=7)
    zero = with_weights({"unembed.W_U": torch.zeros(8, 7), "unembed.b_U": torch.eye(7)[0]})
    always_zero = snapshot.on(task.examples("all", None, 0)).edited(zero)
    assert task.score(always_zero)["accuracy"] == pytest.approx(1 / 7)


def test_keys_of_a_generator_that_differ_in_length_give_other_streams():
    draws = {float(torch.rand(1, generator=generator(*key))) for key in [(0,), (0, 0), (0, 0, 0)]}
    assert len(draws) == 3


def test_one_key_gives_one_stream():
    first, second = (torch.rand(4, generator=generator(3, 5)) for _ in range(2))
    assert torch.equal(first, second)


def test_a_generator_leaves_torchs_random_state_alone():
    before = torch.get_rng_state()
    torch.rand(4, generator=generator(3))
    assert torch.equal(torch.get_rng_state(), before)
