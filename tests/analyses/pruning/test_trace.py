import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import FourierSpectrum, PruningTrace
from analyses.fourier.basis import keep_frequencies
from analyses.pruning.sizes import head_sizes, members_of
from analyses.pruning.trace import member_paths
from hooks import Facts, Series
from hooks.edit import with_weights
from hooks.models import parameters_of
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.planted import random_model, tokens_as_examples
from tests.sweeps import drawn

STEPS = (0, 10, 20, 30, 40, 50)
# Three members: one grows, one peaks at step 10 and dies by 30, one stays small.
SIZES = np.array(
    [[1.0, 2, 0.01], [1, 4, 0.01], [2, 1.9, 0.01], [3, 0.1, 0.01], [4, 0.1, 0.01], [4, 0.1, 0.01]]
)
PAIRS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))


def planted(
    test_accuracy=(0, 0, 0, 1, 1, 1),
    train_loss=(1, 0.1, 0.1, 0.4, 0.1, 0.1),
    sizes=SIZES,
    is_key=(True, False, False),
):
    def at(step):
        return torch.from_numpy(sizes[STEPS.index(step)])

    return PruningTrace(
        by="neuron",
        matrix="",
        steps=np.array(STEPS),
        **member_paths(at, STEPS, torch.tensor(is_key), threshold=0.05, count=9),
        threshold=0.05,
        metric_steps=np.array(STEPS),
        train_loss=np.array(train_loss, dtype=float),
        test_accuracy=np.array(test_accuracy, dtype=float),
    )


@pytest.fixture
def series():
    models = {step: random_model(seed=step, n_layers=2) for step in (0, 1)}
    checkpoints = {step: parameters_of(model) for step, model in models.items()}
    return Series.of(models[0], checkpoints, tokens_as_examples(PAIRS))


@pytest.fixture
def never_pruned():
    """Others that halve by step 20 and stay above the threshold to the end."""
    sizes = SIZES.copy()
    sizes[3:, 1] = 1.9
    return planted(sizes=sizes)


def test_norms_are_those_of_the_groups():
    norms = planted().norms
    assert norms[0, 1] == 1
    assert norms[1, 1] == pytest.approx(math.hypot(4, 0.01))


def test_members_above_the_threshold_are_counted_by_group():
    assert planted().counts[:, 0].tolist() == [1, 1]
    assert planted().counts[:, -1].tolist() == [1, 0]


def test_pruning_peaks_halves_and_ends():
    trace = planted()
    assert (trace.t_peak, trace.t_half, trace.t_pruned) == (10, 20, 30)


def test_pruning_that_comes_back_has_not_ended():
    sizes = SIZES.copy()
    sizes[-1, 1] = 1
    assert math.isnan(planted(sizes=sizes).t_pruned)


def test_the_lag_is_from_the_accuracy_crossing_to_the_end_of_pruning():
    assert planted(test_accuracy=(0, 0, 1, 1, 1, 1)).summary()["lag"] == 10


def test_the_lag_to_half_is_known_where_pruning_never_ends(never_pruned):
    summary = never_pruned.summary()
    assert math.isnan(summary["lag"])
    assert summary["lag_half"] == -10


def test_without_others_there_is_nothing_to_prune():
    trace = planted(is_key=(True, True, True))
    assert all(math.isnan(each) for each in (trace.t_peak, trace.t_half, trace.t_pruned))


def test_the_bump_is_how_far_train_loss_rises_on_the_way():
    assert planted().train_loss_bump == pytest.approx(4)


def test_where_pruning_never_ends_the_bump_is_looked_for_up_to_the_last_step(never_pruned):
    late = dataclasses.replace(never_pruned, train_loss=np.array([1, 0.1, 0.1, 0.4, 0.1, 0.7]))
    assert late.train_loss_bump == pytest.approx(7)


def test_a_bump_over_a_train_loss_of_0_is_undefined():
    assert math.isnan(planted(train_loss=(1, 0, 0.1, 0.4, 0.1, 0.1)).train_loss_bump)


def test_train_loss_that_only_falls_has_no_bump():
    assert planted(train_loss=(1, 0.5, 0.4, 0.3, 0.2, 0.1)).train_loss_bump == 1


def test_sizes_of_heads_are_norms_of_the_whole_ov_matrix(series):
    dense = [
        (series.weights(f"blocks.{layer}.attn.W_V") @ series.weights(f"blocks.{layer}.attn.W_O"))
        .flatten(2)
        .norm(dim=-1)
        for layer in (0, 1)
    ]
    torch.testing.assert_close(head_sizes(series), torch.cat(dense, dim=1))


@pytest.mark.parametrize("kind", ["neuron", "input"])
def test_sizes_do_not_change_when_weights_are_rescaled_across_the_relu(kind):
    model = random_model()
    own = parameters_of(model)
    scaled = {name: value.clone() for name, value in own.items()}
    scaled["blocks.0.mlp.W_in"] *= 3
    scaled["blocks.0.mlp.W_out"] /= 3
    tokens = tokens_as_examples(torch.tensor([[1, 2, 7]]))
    sizes = members_of(Series.of(model, {0: own, 1: scaled}, tokens), kind).at
    torch.testing.assert_close(sizes(0), sizes(1))


def test_sizes_of_frequencies_square_to_their_power(grokked):
    power = FourierSpectrum.measure(grokked.snapshot()).power[0, 1:]
    sizes = PruningTrace.measure(grokked.series(), by="frequency").paths[:, -1]
    np.testing.assert_allclose(sizes**2, power, rtol=1e-6)  # paths are kept in float32


def test_at_the_end_three_of_26_frequencies_hold_nine_tenths_of_the_embedding(grokked):
    trace = PruningTrace.measure(grokked.series())
    assert (trace.by, trace.is_key.sum(), len(trace.is_key)) == ("frequency", 3, 26)
    power = trace.paths[:, -1] ** 2
    assert power[trace.is_key].sum() >= 0.9 * power.sum()


def test_the_same_frequencies_hold_a_ninth_of_the_untrained_embedding(grokked):
    trace = PruningTrace.measure(grokked.series())
    power = trace.paths[:, 0] ** 2
    assert power[trace.is_key].sum() < 0.2 * power.sum()


def test_dropping_the_other_frequencies_leaves_accuracy(grokked):
    trace, snapshot = PruningTrace.measure(grokked.series(), share=0.95), grokked.snapshot()
    keys = (np.flatnonzero(trace.is_key) + 1).tolist()
    W_E = keep_frequencies(snapshot.weights("W_E"), keys, order=torch.arange(53))
    kept = snapshot.edited(with_weights({"embed.W_E": W_E}))
    assert ModularArithmetic(p=53).score(kept)["accuracy"] > 0.95


def test_the_others_peak_before_accuracy_arrives_and_halve_later(grokked):
    trace = PruningTrace.measure(grokked.series())
    assert trace.t_peak < trace.t_accuracy <= trace.t_half


def test_frequencies_are_named_by_their_number(grokked):
    named = PruningTrace.measure(grokked.series(), key=[4, 6, 23])
    assert named.members[named.is_key, 0].tolist() == [4, 6, 23]
    assert set(FourierSpectrum.measure(grokked.snapshot()).key_frequencies) == {4, 6, 23}
    np.testing.assert_array_equal(named.is_key, PruningTrace.measure(grokked.series()).is_key)


@pytest.mark.parametrize("frequency", [0, 27])
def test_there_is_no_frequency_0_and_none_above_half_the_modulus(grokked, frequency):
    message = rf"key = \[{frequency}\]: there are 26 members, counted from 1"
    with pytest.raises(ValueError, match=message):
        PruningTrace.measure(grokked.series(), key=[frequency])


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_a_threshold_that_is_no_share_is_refused(grokked, threshold):
    with pytest.raises(ValueError, match=f"threshold = {threshold}: a share is from 0 to less"):
        PruningTrace.measure(grokked.series(), threshold=threshold)


def test_named_members_are_the_key_group(grokked):
    trace = PruningTrace.measure(grokked.series(), by="head", key=[1, 3])
    assert trace.is_key.tolist() == [False, True, False, True]


def test_without_metrics_sizes_are_traced_and_times_of_accuracy_are_undefined(grokked):
    bare = dataclasses.replace(grokked.series(), recorded=None)
    trace = PruningTrace.measure(bare)
    assert math.isnan(trace.t_accuracy)
    assert math.isnan(trace.train_loss_bump)
    assert trace.t_peak == PruningTrace.measure(grokked.series()).t_peak


def test_metrics_without_accuracy_leave_it_undefined(grokked):
    frame = pd.DataFrame({"step": [0, 975], "train.loss": [4.0, 0.1]})
    trace = PruningTrace.measure(dataclasses.replace(grokked.series(), recorded=frame))
    assert math.isnan(trace.t_accuracy)


def test_an_unknown_kind_is_refused_with_those_there_are(grokked):
    with pytest.raises(ValueError, match="by: no kind 'layer'; there are frequency, neuron"):
        PruningTrace.measure(grokked.series(), by="layer")


def test_a_kind_the_model_lacks_is_refused():
    model = random_model(attn_only=True)
    tokens = tokens_as_examples(torch.tensor([[1, 2, 7]]))
    series = Series.of(model, {0: parameters_of(model)}, tokens)
    with pytest.raises(ValueError, match="neuron_out"):
        PruningTrace.measure(series, by="neuron")


def test_a_model_without_anything_to_group_is_refused(series):
    bare = dataclasses.replace(series, parameters=lambda step: {}, facts=Facts())
    with pytest.raises(ValueError, match="no frequency or neuron or input or head to trace; name"):
        PruningTrace.measure(bare)


def test_an_embedding_that_is_the_same_for_all_residues_has_no_frequencies_to_trace(grokked):
    last = dict(grokked.series().parameters(975))
    alike = last | {"embed.W_E": torch.full_like(last["embed.W_E"], 0.1)}
    series = dataclasses.replace(grokked.series(), parameters=lambda step: alike)
    with pytest.raises(ValueError, match="every size is 0 at every step"):
        PruningTrace.measure(series, by="frequency")


def test_pruning_is_said_beside_the_key_group_and_accuracy():
    fall, late = planted().findings()
    assert (fall.strength, late.strength) == ("found", "found")
    assert fall.text == (
        "From step 10 to 50: the norm of 2 other neurons falls to 2.5 %, of 1 key neuron rises to "
        "400 %"
    )
    assert late.text == (
        "The other neurons halve at step 20, 10 steps before test accuracy reaches 99 % (step 30)"
    )
    title = drawn(planted().figures()["norms"])["layout"]["title"]["text"]
    assert fall.text == title


def test_others_that_stay_are_not_pruned():
    sizes = SIZES.copy()
    sizes[2:, 1] = 3.0
    assert [finding.strength for finding in planted(sizes=sizes).findings()] == ["not found"]


def test_where_all_weights_decay_alike_no_group_is_pruned():
    sizes = np.ones((6, 3)) * np.array([[1, 1, 0.8, 0.4, 0.2, 0.1]]).T
    assert [finding.strength for finding in planted(sizes=sizes).findings()] == ["null"]


def test_without_others_or_accuracy_nothing_is_said_of_them():
    assert planted(is_key=(True, True, True)).findings() == ()
    assert len(planted(test_accuracy=(0, 0, 0, 0, 0, 0)).findings()) == 1
