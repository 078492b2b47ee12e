import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from analyses import NeuronCircle
from analyses.neurons.circle import random_circles
from analyses.neurons.phases import gap_variation
from analyses.plots.views import View
from hooks import Snapshot, build
from hooks.edit import with_weights
from hooks.models import ConstructedConfig, MLPConfig
from interp.tasks.bit_parity import BitParity
from interp.tasks.modular_arithmetic import ModularArithmetic

TASK = ModularArithmetic(p=11, equals=False)
W_IN, W_OUT = "blocks.0.mlp.W_in", "blocks.0.mlp.W_out"


def snapshot_of(config, task: Any = TASK):
    model = build(config, task.sizes, seed=0, dtype="float64")
    return Snapshot.of(model, task.examples("all", None, 0), config=config)


def measured(config, task=TASK, **options):
    return NeuronCircle.measure(snapshot_of(config, task), **options)


@pytest.mark.parametrize("d_mlp", [3, 5, 8])
@pytest.mark.parametrize("frequency", [1, 4])
def test_the_constructed_circle_is_a_circle(d_mlp, frequency):
    summary = measured(ConstructedConfig(d_mlp=d_mlp, frequency=frequency)).summary()
    assert summary["frequencies"] == str(frequency)
    assert summary["order_parameter"] == pytest.approx(1)
    for name in ("input_norm_variation", "output_norm_variation", "gap_variation"):
        assert summary[name] == pytest.approx(0, abs=1e-9)


def test_neurons_of_the_constructed_circle_lie_at_their_angles():
    frame = measured(ConstructedConfig(d_mlp=5)).to_frame()
    turn = 2 * math.pi
    expected = turn * np.arange(5) / 5
    np.testing.assert_allclose(np.cos(frame["input_angle"] - expected), 1)
    np.testing.assert_allclose(np.cos(frame["output_angle"] - 2 * expected), 1)


def test_phases_of_the_analytic_network_add():
    summary = measured(ConstructedConfig(network="analytic", d_mlp=40)).summary()
    assert (summary["groups"], summary["frequency_match"]) == (5, 1)
    assert summary["order_parameter"] == pytest.approx(1)
    assert float(summary["gap_variation"]) > 0.1  # its phases are random


def test_output_angles_that_do_not_double_are_seen():
    snapshot = snapshot_of(ConstructedConfig(d_mlp=5))
    once = snapshot.weights(W_IN).T.clone()
    found = NeuronCircle.measure(snapshot.edited(with_weights({W_OUT: once})))
    assert found.summary()["order_parameter"] == pytest.approx(0, abs=1e-9)


def test_a_neuron_that_writes_nothing_is_in_no_group():
    snapshot = snapshot_of(ConstructedConfig(d_mlp=5))
    written = snapshot.weights(W_OUT).clone()
    written[2] = 0
    found = NeuronCircle.measure(snapshot.edited(with_weights({W_OUT: written})))
    assert found.is_active.tolist() == [True, True, False, True, True]
    assert found.circles()["neurons"].tolist() == [4]


def test_groups_are_in_the_order_of_their_input_angles():
    found = measured(ConstructedConfig(network="analytic", d_mlp=40))
    angles = found.to_frame()["input_angle"].to_numpy()
    for own in found.groups.values():
        assert (np.diff(angles[own]) > 0).all()


def test_groups_of_two_neurons_make_no_circle():
    summary = measured(ConstructedConfig(network="analytic", d_mlp=10)).summary()
    assert math.isnan(float(summary["order_parameter"]))


def test_a_constructed_circle_can_be_tried_by_hand():
    view = measured(ConstructedConfig(d_mlp=7, frequency=3, act_fn="square")).plot()
    assert isinstance(view, View)
    made_of = {name: view.props[name] for name in ("p", "d_mlp", "act_fn", "frequency")}
    assert made_of == {"p": 11, "d_mlp": 7, "act_fn": "square", "frequency": 3}


@pytest.mark.parametrize(
    "config",
    [ConstructedConfig(network="analytic", d_mlp=20), MLPConfig(d_model=4, d_mlp=6, tied=True)],
)
def test_only_a_constructed_circle_can_be_tried_by_hand(config):
    assert "network" not in measured(config).figures()


def test_a_subtraction_of_separate_operands_is_read_backwards_in_b():
    task = TASK.model_copy(update={"operation": "subtract"})
    config = ConstructedConfig(network="analytic", d_mlp=40)
    snapshot = snapshot_of(config, task)
    reads = snapshot.weights(W_IN).clone()
    reads[1] = reads[1][-torch.arange(11) % 11]
    found = NeuronCircle.measure(snapshot.edited(with_weights({W_IN: reads})))
    assert found.summary()["order_parameter"] == pytest.approx(1)


def test_a_share_above_1_is_refused():
    with pytest.raises(ValueError, match=r"least = 2: a share is from 0 to 1"):
        measured(ConstructedConfig(), least=2)


def test_neurons_that_write_nothing_are_refused():
    snapshot = snapshot_of(ConstructedConfig(d_mlp=5))
    nothing = torch.zeros_like(snapshot.weights(W_OUT))
    with pytest.raises(ValueError, match="there is no circle"):
        NeuronCircle.measure(snapshot.edited(with_weights({W_OUT: nothing})))


def test_a_task_without_a_modulus_is_refused():
    config = MLPConfig(d_mlp=8, collapsed_in=True, collapsed_out=True, one_logit=True)
    task = BitParity(n=6, k=2, train_sequences=20, test_sequences=40)
    with pytest.raises(
        ValueError, match="needs a task with the facts ModularFacts, and this one has InputFacts"
    ):
        NeuronCircle.measure(snapshot_of(config, task))


def test_silent_neurons_are_in_no_group_whatever_the_least_size():
    snapshot = snapshot_of(ConstructedConfig(d_mlp=5, frequency=1))
    W_in = snapshot.weights(W_IN).clone()
    W_in[..., 3:] = 0
    found = NeuronCircle.measure(snapshot.edited(with_weights({W_IN: W_in})), least=0)
    assert {key: own.tolist() for key, own in found.groups.items()} == {1: [0, 1, 2]}
    assert (found.summary()["active_neurons"], found.summary()["silent_neurons"]) == (3, 2)


def said(result):
    return [(finding.strength, finding.text) for finding in result.findings()]


def test_a_circle_of_neurons_is_found_beside_random_angles():
    assert said(measured(ConstructedConfig(d_mlp=16))) == [
        (
            "found",
            "Output angles follow twice the input angle: order 1.00 of 1 over 16 neurons in 1 "
            "group by frequency (random angles: 0.22)",
        ),
        (
            "found",
            "Gaps between the input angles of neurons vary by 0.00 of their mean (even angles: 0, "
            "random ones: 0.94)",
        ),
    ]


def test_random_angles_are_null():
    generator = np.random.default_rng(0)
    found = measured(ConstructedConfig(d_mlp=16))
    angles = generator.uniform(0, 2 * np.pi, (2, 16))
    reads, writes = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    random = replace(found, reads=reads[None], writes=writes)
    assert [strength for strength, _ in said(random)] == ["null", "null"]


def test_random_circles_are_what_random_angles_give_on_average():
    generator, k = np.random.default_rng(0), 9
    angles = torch.from_numpy(generator.uniform(0, 2 * np.pi, (4000, k)))
    orders = torch.polar(torch.ones_like(angles), angles).mean(1).abs()
    gaps = np.array([gap_variation(row) for row in angles[:1000]])
    order, deviation, gap = random_circles(np.array([float(k)]))
    assert order == pytest.approx(float(orders.mean()), rel=0.03)
    assert deviation == pytest.approx(float(orders.std()), rel=0.05)
    assert gap == pytest.approx(np.sqrt((gaps**2).mean()), rel=0.03)


def test_groups_of_two_neurons_say_nothing():
    assert measured(ConstructedConfig(network="analytic", d_mlp=10)).findings() == ()
