"""Analyses take networks with one hidden layer as they take transformers."""

import pytest
import torch

from analyses import ANALYSES, ClockPizza, FourierSpectrum, PruningTrace, Result, SeriesResult
from hooks import Series, Snapshot, build
from hooks.models import ConstructedConfig, MLPConfig, parameters_of
from interp.tasks.bit_parity import BitParity
from interp.tasks.modular_arithmetic import ModularArithmetic

ADDITION = ModularArithmetic(p=11, equals=False)
PARITY = BitParity(n=6, k=2, train_sequences=20, test_sequences=40)
NETWORKS = {
    "tied": (MLPConfig(d_model=12, d_mlp=8, tied=True), ADDITION),
    "separate operands": (MLPConfig(d_mlp=8, shared_embedding=False), ADDITION),
    "constructed": (ConstructedConfig(d_mlp=7), ADDITION),
    "parity": (MLPConfig(d_mlp=8, collapsed_in=True, collapsed_out=True, one_logit=True), PARITY),
}


RESULTS = {name: cls for name, cls in ANALYSES.items() if issubclass(cls, Result)}
SERIES = {name: cls for name, cls in ANALYSES.items() if issubclass(cls, SeriesResult)}


def snapshot_of(config, task):
    model = build(config, task.sizes, seed=0)
    return Snapshot.of(model, task.examples("all", None, 0), config=config)


def applicable(classes):
    """Networks with the names of analyses that apply to them without metrics."""
    return [
        pytest.param(config, task, name, id=f"{name} {network}")
        for network, (config, task) in NETWORKS.items()
        for name, cls in classes.items()
        if not cls.needs.metrics
        and not cls.by_default.asked
        and not cls.needs.missing(snapshot_of(config, task))
    ]


@pytest.mark.parametrize(("config", "task", "name"), applicable(RESULTS))
def test_an_analysis_of_a_snapshot_is_drawn(config, task, name):
    cls = RESULTS[name]
    snapshot = snapshot_of(config, task).on(task.examples(task.splits[0], cls.count, 0))
    assert cls.measure(snapshot).figures()


@pytest.mark.parametrize(("config", "task", "name"), applicable(SERIES))
def test_an_analysis_of_a_series_is_drawn(config, task, name):
    model = build(config, task.sizes, seed=0)
    checkpoints = {step: parameters_of(build(config, task.sizes, seed=step)) for step in range(3)}
    series = Series.of(model, checkpoints, task.examples("all", None, 0))
    assert SERIES[name].measure(series).figures()


def test_addition_and_parity_have_analyses():
    names = {str(param.values[2]) for param in applicable(RESULTS)}
    assert {"FourierSpectrum", "FourierCircuit", "ClockPizza", "EffectiveSubnetwork"} <= names


def test_gradients_of_shared_operands_are_symmetric_by_construction():
    scores = ClockPizza.measure(snapshot_of(*NETWORKS["tied"]), triples=50).scores
    assert scores["gradient_symmetricity"] == pytest.approx(1)


@pytest.mark.parametrize("frequency", [1, 4])
def test_the_spectrum_of_the_constructed_circle_is_its_frequency(frequency):
    config = ConstructedConfig(frequency=frequency)
    spectrum = FourierSpectrum.measure(snapshot_of(config, ADDITION))
    assert spectrum.key_frequencies == (frequency,)
    assert torch.from_numpy(spectrum.neuron_purity).min() > 1 - 1e-6  # float32 weights


def traced(config=NETWORKS["parity"][0], task=PARITY, **options):
    checkpoints = {step: parameters_of(build(config, task.sizes, seed=step)) for step in range(2)}
    examples = task.examples("all", None, 0)
    series = Series.of(build(config, task.sizes, seed=0), checkpoints, examples)
    return PruningTrace.measure(series, **options)


def test_a_trace_of_parity_sets_relevant_bits_and_the_bias_against_distractors():
    trace = traced()
    assert (trace.by, trace.matrix) == ("weight", "effective")
    assert {int(row) for row in trace.members[trace.is_key, 1]} == {0, 1, 6}
    assert trace.totals == (3 * 8, 4 * 8)


@pytest.mark.parametrize("options", [{"by": "input"}, {"matrix": "neuron_in"}, {"matrix": "W_E"}])
def test_inputs_that_matter_are_the_key_group_of_inputs_and_of_their_weights(options):
    trace = traced(**options)
    assert trace.totals[0] / sum(trace.totals) == 3 / 7


def test_without_a_constant_input_the_key_group_is_the_relevant_bits():
    trace = traced(task=PARITY.model_copy(update={"bias": False}), by="input")
    assert trace.members[trace.is_key, 0].tolist() == [0, 1]


def test_neurons_of_a_parity_network_are_grouped_by_size():
    trace = traced(by="neuron", share=0.5)
    assert 0 < trace.totals[0] < 8
