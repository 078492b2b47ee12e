import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analyses import EffectiveSubnetwork
from analyses.pruning.subnetwork import (
    Parts,
    fewest,
    neuron_sizes,
    numbers_kept,
    places,
    ranks,
    weight_matrices,
)
from hooks import Snapshot, build
from hooks.edit import masked_weights, with_weights, without_neurons
from hooks.models import MLPConfig
from tests.planted import SIZES, random_model, tokens_as_examples
from tests.sweeps import drawn

PAIRS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))
W_IN, W_OUT = "blocks.0.mlp.W_in", "blocks.0.mlp.W_out"


@given(st.integers(0, 50), st.integers(0, 50))
def test_bisection_finds_the_fewest(total, threshold):
    threshold = min(total, threshold)
    assert fewest(lambda number: torch.tensor([number >= threshold]), total) == threshold


def test_a_network_whose_other_neurons_write_nothing_needs_only_the_rest(snapshot):
    W_out = snapshot.weights("blocks.0.mlp.W_out")
    W_out[3:] = 0
    found = EffectiveSubnetwork.measure(
        snapshot.edited(with_weights({"blocks.0.mlp.W_out": W_out}))
    )
    assert found.effective_count <= 3
    assert set(np.flatnonzero(found.place <= 2)) <= {0, 1, 2}


def test_accuracy_with_neurons_kept_is_that_of_an_edit(snapshot):
    found = EffectiveSubnetwork.measure(snapshot)
    silent = np.flatnonzero(found.place > found.kept.tolist().index(4)).tolist()
    assert len(silent) == 12
    logits = snapshot.edited(without_neurons(0, silent)).logits()[:, -1]
    right = (logits.argmax(-1) == snapshot.examples.targets[:, -1]).double().mean()
    assert found.accuracy[0, found.kept.tolist().index(4)] == pytest.approx(right.item())


def test_all_neurons_are_as_accurate_and_faithful_as_the_network(snapshot):
    found = EffectiveSubnetwork.measure(snapshot)
    assert np.ptp(found.accuracy[:, -1]) == 0
    np.testing.assert_array_equal(found.faithfulness[:, -1], 1)


def test_sizes_are_products_of_what_is_read_and_written(snapshot):
    reads = snapshot.weights("neuron_in")[..., 5].norm()
    writes = snapshot.weights("neuron_out")[5].norm()
    torch.testing.assert_close(neuron_sizes(snapshot)[5], reads * writes)


def test_the_order_of_the_end_is_the_references(grokked):
    end = EffectiveSubnetwork.measure(grokked.snapshot(count=200))
    early = EffectiveSubnetwork.measure(grokked.snapshot(100, count=200), reference=end)
    own = EffectiveSubnetwork.measure(grokked.snapshot(100, count=200))
    assert not np.array_equal(early.accuracy[1], own.accuracy[1])
    np.testing.assert_array_equal(early.accuracy[0], own.accuracy[0])


def test_after_grokking_fewer_neurons_do_than_while_memorising(grokked):
    found = [EffectiveSubnetwork.measure(grokked.snapshot(step, count=512)) for step in (100, 975)]
    assert found[1].effective_count < 0.5 * found[0].effective_count


def test_the_largest_third_answers_what_a_random_third_does_not(grokked):
    found = EffectiveSubnetwork.measure(grokked.snapshot(count=512))
    place = found.kept.tolist().index(64)
    assert found.accuracy[0, place] > 0.99
    assert found.accuracy[2, place] < 0.5


def accuracy(snapshot):
    right = snapshot.logits()[:, -1].argmax(-1) == snapshot.examples.targets[:, -1]
    return right.double().mean().item()


@pytest.fixture
def only_attention():
    model = random_model(attn_only=True)
    return Snapshot.of(model, tokens_as_examples(torch.cartesian_prod(*(torch.arange(7),) * 3)))


def test_a_model_without_neurons_is_asked_about_its_weights(only_attention):
    found = EffectiveSubnetwork.measure(only_attention)
    assert (found.by, found.total) == ("weight", 8 * 8 + 3 * 8 + 4 * 64 + 8 * 7)


def test_neurons_asked_for_where_there_are_none_are_refused(only_attention):
    with pytest.raises(ValueError, match="view 'neuron_in' needs"):
        EffectiveSubnetwork.measure(only_attention, by="neuron")


def test_matrices_are_all_parameters_but_biases_and_norms():
    model = random_model(normalization_type="LN", n_layers=2)
    snapshot = Snapshot.of(model, tokens_as_examples(torch.tensor([[1, 2, 7]])))
    names = [f"attn.W_{each}" for each in "QOKV"] + ["mlp.W_in", "mlp.W_out"]
    layers = [f"blocks.{layer}.{name}" for layer in (0, 1) for name in names]
    assert sorted(weight_matrices(snapshot)) == sorted(
        ["embed.W_E", "pos_embed.W_pos", "unembed.W_U", *layers]
    )


def test_accuracy_with_weights_kept_is_that_of_the_weights_set_to_zero(snapshot):
    found = EffectiveSubnetwork.measure(snapshot, matrices=[W_IN, W_OUT], shares=[0.25])
    weights = {name: snapshot.weights(name) for name in (W_IN, W_OUT)}
    level = torch.cat([each.abs().flatten() for each in weights.values()]).quantile(0.75)
    cut = {name: each * (each.abs() > level) for name, each in weights.items()}
    assert found.kept.tolist() == [0, 64, 256]
    assert found.accuracy[0, 1] == pytest.approx(accuracy(snapshot.edited(with_weights(cut))))


def test_weights_of_all_matrices_are_ranked_together(snapshot):
    large = snapshot.edited(with_weights({W_IN: 100 * torch.ones(8, 16).double()}))
    found = EffectiveSubnetwork.measure(large, matrices=[W_OUT, W_IN], shares=[0.5])
    assert found.matrices == (W_OUT, W_IN)
    np.testing.assert_array_equal(found.place, [2] * 128 + [1] * 128)


def test_a_network_whose_other_weights_are_zero_needs_only_the_rest(snapshot):
    kept = torch.zeros(8, 16, dtype=torch.bool)
    kept[:2, :5] = True
    found = EffectiveSubnetwork.measure(
        snapshot.edited(masked_weights({W_IN: kept})), matrices=[W_IN], shares=[10 / 128]
    )
    assert found.effective_count <= 10
    assert found.faithfulness[0, 1] == found.accuracy[0, 1] / found.accuracy[0, 2] == 1


def test_nothing_kept_of_a_matrix_is_the_matrix_removed(snapshot):
    found = EffectiveSubnetwork.measure(snapshot, matrices=["embed.W_E"])
    removed = snapshot.edited(with_weights({"embed.W_E": torch.zeros(8, 8)}))
    np.testing.assert_allclose(found.accuracy[:, 0], accuracy(removed))


def test_all_weights_are_as_accurate_and_faithful_as_the_network(snapshot):
    found = EffectiveSubnetwork.measure(snapshot, by="weight")
    np.testing.assert_allclose(found.accuracy[:, -1], accuracy(snapshot))
    np.testing.assert_array_equal(found.faithfulness[:, -1], 1)


def test_the_weights_of_the_end_are_the_references(grokked):
    how = {"matrices": [W_IN], "shares": [0.3]}
    end = EffectiveSubnetwork.measure(grokked.snapshot(count=200), **how)
    early = grokked.snapshot(300, count=200)
    found = EffectiveSubnetwork.measure(early, reference=end, **how)
    mask = torch.from_numpy(end.place <= 1).reshape(48, 192)
    expected = accuracy(early.edited(masked_weights({W_IN: mask})))
    assert found.accuracy[1, 1] == pytest.approx(expected)
    assert found.place.size == 0


def test_after_grokking_fewer_weights_of_neurons_do_than_while_memorising(grokked):
    found = [
        EffectiveSubnetwork.measure(grokked.snapshot(step, count=512), matrices=[W_IN, W_OUT])
        for step in (100, 975)
    ]
    assert found[1].effective_count < 0.5 * found[0].effective_count
    assert found[1].sufficient_share() < 0.5 * found[0].sufficient_share()


def test_the_largest_quarter_of_weights_answers_what_a_random_quarter_does_not(grokked):
    found = EffectiveSubnetwork.measure(grokked.snapshot(count=512), matrices=[W_IN, W_OUT])
    quarter = found.kept.tolist().index(found.total // 4)
    assert found.accuracy[0, quarter] > 0.99
    assert found.accuracy[2, quarter] < 0.5


@pytest.mark.parametrize("by", ["neuron", "weight"])
def test_a_network_without_attention_is_asked_alike(by):
    model = build(MLPConfig(d_model=8, d_mlp=16), SIZES, seed=0, dtype="float64")
    snapshot = Snapshot.of(model, tokens_as_examples(PAIRS))
    found = EffectiveSubnetwork.measure(snapshot, by=by)
    answers = snapshot.logits()[:, 0].argmax(-1)
    right = (answers == PAIRS[:, :2].sum(1) % 7).double().mean().item()
    assert found.total == {"neuron": 16, "weight": 2 * 8 * 16 + 8 * 8 + 8 * 7}[by]
    np.testing.assert_allclose(found.accuracy[:, -1], right)
    np.testing.assert_array_equal(found.faithfulness[:, -1], 1)


def test_the_sufficient_share_is_the_first_from_which_accuracy_stays(snapshot):
    found = EffectiveSubnetwork.measure(snapshot, by="weight", shares=[0.25, 0.5, 0.75])
    accuracies = np.array([[0.0, 0.99, 0.5, 0.985, 0.99]] * 3)
    planted = dataclasses.replace(found, train_accuracy=accuracies)
    assert planted.sufficient_share() == 0.75
    assert planted.sufficient_share(tolerance=0.001) == 1
    assert planted.sufficient_share(tolerance=1) == 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_ranks_put_larger_before_smaller_and_equals_in_order(sizes):
    found = ranks(torch.tensor(sizes).double()).tolist()
    expected = sorted(range(len(sizes)), key=lambda part: -sizes[part])
    assert [expected.index(part) for part in range(len(sizes))] == found


@given(st.sets(st.integers(1, 29), max_size=5))
def test_a_part_is_kept_from_its_place_on(numbers):
    kept = [0, *sorted(numbers), 30]
    place = places(torch.arange(30), torch.tensor(kept))
    assert [int((place <= each).sum()) for each in range(len(kept))] == kept


def test_neurons_kept_are_powers_of_two():
    parts = Parts("neuron", torch.ones(12).double(), lambda kept: kept.long())
    assert numbers_kept(parts, None).tolist() == [0, 1, 2, 4, 8, 12]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "head"}, "by: no kind 'head'; there are neuron, weight"),
        ({"by": "neuron", "matrices": [W_IN]}, "matrices names whose single weights are kept"),
        ({"matrices": ["W_in"]}, "no parameter 'W_in'; did you mean"),
        ({"matrices": []}, "matrices: name one parameter at least"),
        ({"shares": [0.5, 1.5]}, r"shares = \[0.5, 1.5\]: give at most 200, each from 0 to 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(snapshot, options, message):
    with pytest.raises(ValueError, match=message):
        EffectiveSubnetwork.measure(snapshot, **options)


def test_a_reference_with_other_options_is_refused(snapshot):
    other = EffectiveSubnetwork.measure(snapshot, by="weight")
    with pytest.raises(ValueError, match="reference: measure it with the same options"):
        EffectiveSubnetwork.measure(snapshot, reference=other)


@pytest.mark.parametrize("by", ["neuron", "weight"])
def test_logits_that_are_not_finite_are_refused_with_the_step(snapshot, by):
    W_U = snapshot.weights("unembed.W_U")
    W_U[0, 0] = torch.nan
    diverged = snapshot.edited(with_weights({"unembed.W_U": W_U}))
    with pytest.raises(ValueError, match="logits hold NaN or infinity: no class"):
        EffectiveSubnetwork.measure(diverged, by=by)


def test_without_training_examples_no_subnetwork_is_effective(snapshot):
    labels = {"train": torch.zeros(len(snapshot.examples), dtype=torch.bool)}
    examples = dataclasses.replace(snapshot.examples, labels=labels)
    with pytest.raises(ValueError, match="none of these 49 is labelled `train`: take more"):
        EffectiveSubnetwork.measure(snapshot.on(examples))


def planted(size, random, *, chance=0.1, effective=4, whole=1.0):
    """Train accuracy by size and at random with none, 4, 12 and all of 16 neurons kept."""
    curves = np.array([[0.1, *size, whole], [0.1, *size, whole], [0.1, *random, whole]])
    return EffectiveSubnetwork(
        by="neuron",
        matrices=(),
        total=16,
        kept=np.array([0, 4, 12, 16]),
        accuracy=curves,
        faithfulness=curves,
        train_accuracy=curves,
        effective_count=effective,
        place=np.zeros(0, np.uint8),
        chance=chance,
    )


def test_a_small_subnetwork_is_found_beside_as_many_random_neurons():
    (finding,) = planted((1.0, 1.0), (0.2, 0.5)).findings()
    assert (finding.strength, finding.figure) == ("found", "accuracy")
    assert finding.text == (
        "The largest 4 of 16 neurons alone have train accuracy 100 %; random ones 20 %, all "
        "neurons 100 %, chance 10 %"
    )
    title = drawn(planted((1.0, 1.0), (0.2, 0.5)).figures()["accuracy"])["layout"]
    assert "4 random ones: 20 %" in title["title"]["text"]


@pytest.mark.parametrize(
    ("found", "strength"),
    [
        (planted((0.5, 1.0), (0.2, 0.5), effective=9), "not found"),
        (planted((1.0, 1.0), (0.98, 1.0)), "null"),
        (planted((0.12, 0.12), (0.02, 0.02), whole=0.12), "null"),
        (planted((0.1, 0.1), (0.1, 0.1), whole=0.1, effective=0), "null"),
    ],
    ids=["most are needed", "random as good", "all at chance", "none is needed"],
)
def test_no_small_subnetwork_is_found(found, strength):
    assert [finding.strength for finding in found.findings()] == [strength]


def test_an_unknown_chance_is_left_out():
    assert "chance" not in planted((1.0, 1.0), (0.2, 0.5), chance=np.nan).findings()[0].text
