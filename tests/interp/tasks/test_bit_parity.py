import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from hooks import InputFacts, Snapshot, build
from hooks.models import MLPConfig, parameters_of
from interp.randomness import generator
from interp.tasks.bit_parity import BitParity, distinct_integers

SMALL = BitParity(n=6, k=2, train_sequences=20, test_sequences=30)
TASKS = st.builds(
    BitParity,
    n=st.integers(6, 40),
    k=st.integers(1, 6),
    train_sequences=st.integers(1, 32),
    test_sequences=st.integers(1, 32),
    coding=st.sampled_from(["zero_one", "plus_minus"]),
    bias=st.booleans(),
)


def rows(examples):
    return [tuple(row) for row in examples.model_inputs[:, 0].tolist()]


@given(TASKS, st.integers(0, 2**40))
@settings(max_examples=30)
def test_the_answer_is_whether_the_first_k_bits_hold_an_odd_number_of_ones(task, seed):
    examples = task.examples("all", None, seed)
    odd = [sum(value == 1 for value in row[: task.k]) % 2 for row in rows(examples)]
    assert examples.targets[:, 0].tolist() == odd


@given(TASKS, st.integers(0, 2**40))
@settings(max_examples=30)
def test_all_sequences_differ(task, seed):
    found = rows(task.examples("all", None, seed))
    assert len(set(found)) == len(found) == task.train_sequences + task.test_sequences


@given(TASKS, st.integers(0, 2**40))
@settings(max_examples=30)
def test_training_data_are_the_examples_of_the_train_split(task, seed):
    data, examples = task.data(None, generator(seed, 0)), task.examples("train", None, seed)
    assert torch.equal(data["inputs"], examples.model_inputs)
    assert torch.equal(data["targets"], examples.targets)


@pytest.mark.parametrize(("coding", "values"), [("zero_one", {0, 1}), ("plus_minus", {-1, 1})])
def test_inputs_are_coded_as_asked(coding, values):
    task = SMALL.model_copy(update={"coding": coding})
    assert set(task.examples("all", None, 0).model_inputs[..., :-1].flatten().tolist()) == values


def test_both_codings_are_of_the_same_sequences():
    plus_minus = SMALL.model_copy(update={"coding": "plus_minus"}).examples("all", None, 0)
    zero_one = SMALL.examples("all", None, 0)
    assert_close(plus_minus.model_inputs[..., :6], 2 * zero_one.model_inputs[..., :6] - 1)


def test_the_last_input_is_always_one():
    assert (SMALL.examples("all", None, 0).model_inputs[..., -1] == 1).all()


def test_without_a_bias_there_are_n_inputs():
    task = SMALL.model_copy(update={"bias": False})
    assert (
        task.examples("all", None, 0).model_inputs.shape == (50, 1, task.sizes.d_in) == (50, 1, 6)
    )


def test_bits_are_fair_and_independent():
    bits = BitParity(n=12, k=2, train_sequences=2000, test_sequences=2000)
    inputs = bits.examples("all", None, 0).model_inputs[:, 0, :12]
    # Standard errors over 4,000 of 4,096 sequences are below 0.01.
    assert_close(inputs.mean(0), torch.full((12,), 0.5), atol=0.03, rtol=0)
    assert_close(torch.corrcoef(inputs.T), torch.eye(12), atol=0.06, rtol=0)


def test_as_many_sequences_as_there_are_is_all_of_them():
    task = BitParity(n=5, k=2, train_sequences=12, test_sequences=20)
    assert len(set(rows(task.examples("all", None, 0)))) == 2**5


def test_splits_do_not_meet():
    train, test = (set(rows(SMALL.examples(split, None, 0))) for split in ("train", "test"))
    assert (len(train), len(test), train & test) == (20, 30, set())


def test_the_train_label_marks_the_train_split():
    examples = SMALL.examples("all", None, 0)
    marked = examples.model_inputs[examples.label("train")]
    assert torch.equal(marked, SMALL.examples("train", None, 0).model_inputs)


def test_another_seed_draws_other_sequences():
    assert rows(SMALL.examples("train", None, 0)) != rows(SMALL.examples("train", None, 1))


def test_a_count_draws_so_many_examples_of_the_split():
    drawn = rows(SMALL.examples("test", 5, 0))
    assert (len(drawn), set(drawn) <= set(rows(SMALL.examples("test", None, 0)))) == (5, True)


@pytest.mark.parametrize("bit", [0, 1])
def test_labels_hold_each_relevant_bit(bit):
    examples = SMALL.examples("all", None, 0)
    assert torch.equal(examples.label(f"bit_{bit}"), examples.model_inputs[:, 0, bit].long())


def test_the_parity_label_is_the_answer():
    examples = SMALL.examples("all", None, 0)
    assert torch.equal(examples.label("parity"), examples.targets[:, 0])


def test_facts_say_which_inputs_are_relevant():
    inputs = SMALL.facts(InputFacts)
    relevant = [name for name, each in zip(inputs.names, inputs.relevant, strict=True) if each]
    assert (relevant, inputs.names.index("bias")) == (["bit 0", "bit 1"], inputs.bias_input)


@pytest.mark.parametrize("bias", [True, False])
def test_facts_have_an_entry_an_input(bias):
    task = SMALL.model_copy(update={"bias": bias})
    inputs = task.facts(InputFacts)
    assert len(inputs.relevant) == len(inputs.names) == task.sizes.d_in


def test_without_a_bias_facts_have_no_place_for_it():
    assert SMALL.model_copy(update={"bias": False}).facts(InputFacts).bias_input is None


def test_a_sequence_is_a_word():
    examples = SMALL.examples("all", 1, 0)
    assert examples.words == (("".join(str(int(x)) for x in rows(examples)[0][:6]),),)


def test_three_neurons_written_by_hand_know_the_parity_of_two_bits():
    # XOR = relu(x + y) - 2 relu(x + y - 1), in logits 4 (XOR - 1/2) with a constant neuron.
    config = MLPConfig(d_mlp=3, collapsed_in=True, collapsed_out=True, one_logit=True)
    model = build(config, SMALL.sizes, seed=0)
    own = parameters_of(model)
    for value in own.values():
        value.zero_()
    own["blocks.0.mlp.W_in"][:2, :2] = 1
    own["blocks.0.mlp.W_in"][6] = torch.tensor([0.0, -1.0, 1.0])
    own["blocks.0.mlp.W_out"].copy_(torch.tensor([[4.0], [-8.0], [-2.0]]))
    score = SMALL.score(Snapshot.of(model, SMALL.examples("test", None, 0)))
    assert score == {"loss": pytest.approx(math.log1p(math.exp(-2))), "accuracy": 1.0}


def batch_and_logits(size=40.0):
    batch = SMALL.data(None, generator(0, 0))
    signs = 2 * batch["targets"][..., None].double() - 1
    return batch, torch.cat([torch.zeros_like(signs), size * signs], dim=-1)


def test_without_a_clip_the_loss_has_no_floor():
    batch, logits = batch_and_logits()
    assert float(SMALL.loss(logits, batch)) == pytest.approx(math.exp(-40), rel=1e-3)


def test_a_clip_is_the_floor_of_the_loss():
    batch, logits = batch_and_logits()
    clipped = SMALL.model_copy(update={"clip": 1e-7})
    assert float(clipped.loss(logits, batch)) == pytest.approx(1e-7)


def test_in_float32_the_floor_is_that_of_the_articles_sweep():
    batch, logits = batch_and_logits()
    clipped = SMALL.model_copy(update={"clip": 1e-7})
    assert float(clipped.loss(logits.float(), batch)) == pytest.approx(2**-23, rel=1e-4)


def test_a_clip_does_not_change_losses_above_it():
    batch, logits = batch_and_logits(size=3.0)
    clipped = SMALL.model_copy(update={"clip": 1e-7})
    assert_close(clipped.loss(logits, batch), SMALL.loss(logits, batch))


def test_a_clip_is_the_ceiling_of_the_loss_too():
    batch, logits = batch_and_logits(size=-40.0)
    clipped = SMALL.model_copy(update={"clip": 1e-7})
    assert float(clipped.loss(logits, batch)) == pytest.approx(-math.log(1e-7))


@given(st.integers(1, 200), st.data())
@settings(max_examples=30)
def test_different_integers_are_different_and_below_the_bound(below, data):
    count = data.draw(st.integers(0, below))
    found = distinct_integers(count, below, generator(0)).tolist()
    assert len(set(found)) == count
    assert all(0 <= each < below for each in found)


def test_every_order_of_different_integers_is_as_frequent():
    drawn = Counter(
        tuple(distinct_integers(2, 3, generator(seed)).tolist()) for seed in range(3000)
    )
    # 500 of each on average, with a standard deviation of 20.
    assert (len(drawn), min(drawn.values()) > 400, max(drawn.values()) < 600) == (6, True, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 3, "k": 5}, "k 5 relevant bits are more than n 3 bits: lower k"),
        (
            {"n": 8, "train_sequences": 200, "test_sequences": 57},
            "train_sequences 200 and test_sequences 57 are more than the 256 sequences of n 8",
        ),
        ({"n": 63}, "less than or equal to 62"),
        ({"k": 0}, "greater than or equal to 1"),
        ({"train_sequences": 0}, "greater than or equal to 1"),
        ({"clip": 0.5}, "less than 0.5"),
    ],
)
def test_a_task_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BitParity.model_validate(options)


def test_an_unknown_split_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="split 'dev' is none of all, train, test"):
        SMALL.examples("dev", None, 0)
