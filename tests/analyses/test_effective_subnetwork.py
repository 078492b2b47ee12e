import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analyses import EffectiveSubnetwork
from analyses.effective_subnetwork import fewest, neuron_sizes
from hooks import Snapshot
from hooks.edit import with_weights, without_neurons
from tests.planted import random_model, tokens_as_examples


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
    assert set(found.order[:3]) == {0, 1, 2}


def test_accuracy_with_neurons_kept_is_that_of_an_edit(snapshot):
    found = EffectiveSubnetwork.measure(snapshot)
    silent = found.order[4:].tolist()
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


def test_a_model_without_neurons_is_refused():
    model = random_model(attn_only=True)
    snapshot = Snapshot.of(model, tokens_as_examples(torch.tensor([[1, 2, 7]])))
    with pytest.raises(ValueError, match=r"weights\.neuron_in, weights\.neuron_out missing"):
        EffectiveSubnetwork.measure(snapshot)
