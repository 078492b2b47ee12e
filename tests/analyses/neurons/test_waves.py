from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses import NeuronWaves
from hooks import Facts, ModularFacts, Snapshot, build
from hooks.edit import with_weights
from hooks.models import ConstructedConfig, MLPConfig
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.planted import random_model, tokens_as_examples

TASK = ModularArithmetic(p=11, equals=False)
W_IN, W_OUT = "blocks.0.mlp.W_in", "blocks.0.mlp.W_out"
ANALYTIC = ConstructedConfig(network="analytic", d_mlp=40)


def snapshot_of(config, task=TASK):
    model = build(config, task.sizes, seed=0, dtype="float64")
    return Snapshot.of(model, task.examples("all", None, 0), config=config)


def measured(config, task=TASK, **options):
    return NeuronWaves.measure(snapshot_of(config, task), **options)


def test_neurons_of_the_analytic_network_are_named_by_their_frequencies():
    found = measured(ANALYTIC)
    assert found.frequency.tolist() == [1 + neuron % 5 for neuron in range(40)]
    assert found.written_frequency.tolist() == found.frequency.tolist()
    np.testing.assert_allclose([found.purity, found.ipr, found.written_ipr], 1)


def test_neurons_without_a_wave_are_impure():
    summary = measured(MLPConfig(d_model=64, d_mlp=200)).summary()
    assert float(summary["mean_purity"]) < 0.7
    assert 1 / 5 < float(summary["mean_ipr"]) < 0.6


def test_the_groups_parts_add_up_to_the_logits():
    snapshot = snapshot_of(ANALYTIC)
    found = NeuronWaves.measure(snapshot, pair=(3, 4))
    logits = snapshot.logits()[3 * 11 + 4, -1]
    expected = (logits - logits.mean()).numpy()
    np.testing.assert_allclose(found.pair_logits.sum(0), expected, atol=1e-9)


def test_a_group_of_many_neurons_is_its_wave_on_average():
    # Of one frequency, phases spread over both angles leave nothing but the wave.
    config = ConstructedConfig(network="analytic", d_mlp=4000)
    found = measured(config, ModularArithmetic(p=5, equals=False))
    assert (found.wave_fve > 0.98).all()


def test_every_group_peaks_at_the_answer_of_a_wide_network():
    found = measured(ConstructedConfig(d_mlp=16, act_fn="square"), pair=(3, 4))
    assert found.pair_logits.argmax(1).tolist() == [7]


def test_five_squared_neurons_write_the_wave_faded_by_the_distance():
    # cos^2 of the distance has mean 1/2 and mean square 3/8: the wave explains (1/2)^2 / (3/8).
    found = measured(ConstructedConfig(act_fn="square"))
    assert found.wave_fve == pytest.approx([2 / 3])


def test_waves_of_the_largest_neurons_are_kept_by_frequency():
    snapshot = snapshot_of(ANALYTIC)
    reads = snapshot.weights(W_IN).clone()
    reads[..., 7] *= 3
    found = NeuronWaves.measure(snapshot.edited(with_weights({W_IN: reads})), waves=1)
    assert found.shown.tolist() == [7]
    np.testing.assert_allclose(found.reads[0], reads[0, :, 7], rtol=1e-6)


def test_multiplication_is_read_in_the_order_of_logarithms():
    task = ModularArithmetic(p=7, operation="multiply", equals=False)
    found = measured(MLPConfig(d_model=8, d_mlp=4), task)
    assert found.reads.shape[1] == 6


def test_a_transformers_neurons_have_waves_too():
    pairs = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))
    examples = tokens_as_examples(pairs)
    modular = replace(examples.facts(ModularFacts), wave="cos w(a + b - c)")
    examples = replace(examples, facts=Facts(groups=(modular,)))
    found = NeuronWaves.measure(Snapshot.of(random_model(), examples))
    assert len(found.frequency) == 16


def test_keeping_no_waves_is_refused():
    with pytest.raises(ValueError, match="waves = 0: keep one at least"):
        measured(ANALYTIC, waves=0)


def with_silent(snapshot, alive):
    """The snapshot, of whose neurons only the first few read and write anything."""
    edits = {name: snapshot.weights(name).clone() for name in (W_IN, W_OUT)}
    edits[W_IN][..., alive:], edits[W_OUT][alive:] = 0, 0
    return snapshot.edited(with_weights(edits))


def test_silent_neurons_match_nothing_and_form_no_group():
    snapshot = snapshot_of(MLPConfig(d_model=64, d_mlp=200))
    whole = NeuronWaves.measure(snapshot).to_frame().head(20)
    found = NeuronWaves.measure(with_silent(snapshot, 20))
    summary = found.summary()
    assert (summary["neurons"], summary["silent_neurons"]) == (200, 180)
    assert set(found.groups) == set(whole["frequency"])
    assert summary["largest_group"] == whole["frequency"].value_counts().max()
    assert summary["frequency_match"] == (whole["frequency"] == whole["written_frequency"]).mean()
    for name in ("purity", "written_purity", "ipr", "written_ipr"):
        assert summary[f"mean_{name}"] == pytest.approx(whole[name].mean())


def test_neurons_that_are_all_silent_have_no_group_and_say_so():
    found = NeuronWaves.measure(with_silent(snapshot_of(ANALYTIC), 0))
    summary = found.summary()
    assert (summary["groups"], summary["largest_group"], summary["silent_neurons"]) == (0, 0, 40)
    assert np.isnan([summary["frequency_match"], summary["mean_purity"], summary["wave_fve"]]).all()
    assert len(found.figures()) == 4


def test_products_modulo_a_composite_number_have_no_waves():
    task = ModularArithmetic(p=9, operation="multiply", equals=False)
    with pytest.raises(ValueError, match="NeuronWaves needs an operation that waves compute"):
        measured(MLPConfig(d_model=8, d_mlp=4), task)


def test_neurons_that_write_what_they_read_are_found_beside_random_pairs():
    matching = measured(ANALYTIC)
    (finding,) = matching.findings()
    assert (finding.strength, finding.text) == (
        "found",
        "100 % of neurons write the frequency that they read (paired at random: 20 %)",
    )
    mixed = np.random.default_rng(0).permutation(matching.written_frequency)
    (finding,) = replace(matching, written_frequency=mixed).findings()
    assert finding.strength == "null"


def test_the_wave_of_the_answer_is_found_beside_the_untrained_model():
    found = measured(ANALYTIC)
    after = replace(found, wave_fve=np.full(5, 0.75), logit_share=np.full(5, 0.2))
    before = replace(after, wave_fve=np.full(5, 0.25))
    finding = after.findings(before)[0]
    assert (finding.strength, finding.text) == (
        "found",
        "The wave that peaks at the answer is 75 % of what neurons of each frequency together add "
        "to the logits (untrained: 25 %)",
    )
    assert before.findings(after)[0].strength == after.findings(after)[0].strength == "null"


def test_silent_neurons_say_nothing():
    found = measured(ANALYTIC)
    silent = replace(found, frequency=found.frequency * 0, wave_fve=np.full(5, np.nan))
    assert silent.findings(silent) == ()
