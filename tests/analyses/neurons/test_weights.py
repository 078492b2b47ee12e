import math

import numpy as np
import pytest
import torch

from analyses import NeuronWeights
from analyses.plots.figures import Figure, as_data
from hooks import Snapshot, build
from hooks.edit import with_weights
from hooks.models import ConstructedConfig, MLPConfig
from interp.tasks.bit_parity import BitParity
from interp.tasks.modular_arithmetic import ModularArithmetic

W_IN, W_OUT = "blocks.0.mlp.W_in", "blocks.0.mlp.W_out"
PARITY = BitParity(n=5, k=2, train_sequences=8, test_sequences=8)
NETWORK = MLPConfig(d_mlp=3, collapsed_in=True, collapsed_out=True, one_logit=True)
READS = torch.zeros(6, 3).double()
READS[0, 1], READS[1, 2], READS[5, 0] = 3.0, -2.0, 1.0
WRITES = torch.tensor([[1.0], [2.0], [3.0]]).double()


def snapshot_of(config, task):
    model = build(config, task.sizes, seed=0, dtype="float64")
    return Snapshot.of(model, task.examples("all", None, 0), config=config)


def planted(reads=READS, writes=WRITES):
    """Three neurons on five bits and a constant: neurons 1 and 2 are of size 6, neuron 0 of 1."""
    edit = with_weights({W_IN: reads, W_OUT: writes})
    return snapshot_of(NETWORK, PARITY).edited(edit)


def test_the_largest_neurons_come_first():
    found = NeuronWeights.measure(planted())
    assert found.neurons.tolist() == [1, 2, 0]
    np.testing.assert_array_equal(found.reads, READS[:, [1, 2, 0]])


def test_only_the_largest_are_kept_and_all_are_counted():
    found = NeuronWeights.measure(planted(), neurons=2)
    assert found.neurons.tolist() == [1, 2]
    assert found.total == 3
    assert found.input_sizes[5] == 1  # what the neuron left out reads


def test_of_two_classes_the_second_stands_over_the_first():
    np.testing.assert_array_equal(NeuronWeights.measure(planted()).writes, [[2.0, 3.0, 1.0]])


def test_neurons_keep_the_places_of_the_last_step():
    last = NeuronWeights.measure(planted())
    earlier = NeuronWeights.measure(planted(reads=READS.flip(1)), reference=last)
    assert earlier.neurons.tolist() == [1, 2, 0]
    np.testing.assert_array_equal(earlier.reads, READS.flip(1)[:, [1, 2, 0]])


def test_two_inputs_that_are_read_alike_count_as_two():
    reads = torch.zeros(6, 3).double()
    reads[0, 0], reads[3, 1] = 6.0, 3.0  # times what these neurons write, 1 and 2
    assert NeuronWeights.measure(planted(reads)).effective_inputs == pytest.approx(2)


def test_weights_that_are_all_zero_count_none():
    assert math.isnan(NeuronWeights.measure(planted(torch.zeros(6, 3).double())).effective_inputs)


def test_sizes_of_inputs_do_not_change_when_weights_are_rescaled_across_the_relu():
    scale = torch.tensor([2.0, 3.0, 0.5]).double()
    rescaled = planted(READS * scale, WRITES / scale[:, None])
    np.testing.assert_allclose(
        NeuronWeights.measure(rescaled).input_sizes, NeuronWeights.measure(planted()).input_sizes
    )


def test_neurons_of_the_constructed_circle_stand_by_their_angles():
    task = ModularArithmetic(p=11, equals=False)
    found = NeuronWeights.measure(snapshot_of(ConstructedConfig(d_mlp=5), task))
    turn = 2 * math.pi
    angles = turn * np.array([-2, -1, 0, 1, 2]) / 5
    residues = turn * np.arange(11)[:, None] / 11
    assert found.neurons.tolist() == [3, 4, 0, 1, 2]
    np.testing.assert_allclose(found.reads, np.cos(residues - angles), atol=1e-12)
    np.testing.assert_allclose(found.writes, np.cos(residues - 2 * angles), atol=1e-12)


def test_neurons_of_a_frequency_stand_together():
    task = ModularArithmetic(p=11, equals=False)
    config = ConstructedConfig(network="analytic", d_mlp=20)
    neurons = NeuronWeights.measure(snapshot_of(config, task)).neurons
    assert (1 + neurons % 5).tolist() == sorted(1 + neurons % 5)  # neuron k has 1 + k mod p // 2


def test_a_map_has_a_row_an_input_and_a_column_a_neuron():
    figure = NeuronWeights.measure(planted()).figures()["reads"]
    assert isinstance(figure, Figure)
    (drawn,) = as_data(figure)["data"]
    assert drawn["y"] == ["bit 0", "bit 1", "bit 2", "bit 3", "bit 4", "bias"]
    assert drawn["x"] == ["1", "2", "0"]
    np.testing.assert_array_equal(drawn["z"], READS[:, [1, 2, 0]])


def test_a_table_has_every_weight_once():
    frame = NeuronWeights.measure(planted()).to_frame()
    assert len(frame) == 6 * 3 + 3
    row = frame.query("side == 'reads' and row == 'bit 1' and neuron == 2")
    assert row["weight"].tolist() == [-2.0]


def test_no_neurons_at_all_are_refused():
    with pytest.raises(ValueError, match="neurons = 0: keep one at least"):
        NeuronWeights.measure(planted(), neurons=0)


def test_a_task_that_names_no_inputs_is_refused():
    config = MLPConfig(d_model=4, d_mlp=3)
    with pytest.raises(ValueError, match="tokens that are all operands"):
        NeuronWeights.measure(snapshot_of(config, ModularArithmetic(p=5)))


@pytest.mark.parametrize("frequency", [2, 3])  # 3 is the last that 7 residues have
def test_silent_neurons_come_last_where_neurons_read_waves(frequency):
    task = ModularArithmetic(p=7, equals=False)
    snapshot = snapshot_of(ConstructedConfig(d_mlp=5, frequency=frequency), task)
    W_in = snapshot.weights(W_IN).clone()
    W_in[..., :2] = 0
    found = NeuronWeights.measure(snapshot.edited(with_weights({W_IN: W_in})))
    assert sorted(found.neurons[-2:].tolist()) == [0, 1]


def test_few_inputs_are_found_beside_the_untrained_model_or_all():
    reads = torch.zeros(6, 3).double()
    reads[0, 0], reads[3, 1] = 6.0, 3.0
    two, six = (
        NeuronWeights.measure(planted(weights)) for weights in (reads, torch.ones(6, 3).double())
    )
    of, counted = "Neurons read {} of 6 inputs, counted by squared weight", "(untrained: {})"
    (finding,) = two.findings(six)
    assert finding.strength == "found"
    assert finding.text == f"{of.format('2.0')} {counted.format('6.0')}"
    (alone,) = two.findings()
    assert (alone.strength, alone.text[-24:]) == ("found", "(if all were alike: 6.0)")
    assert [each.strength for each in (*six.findings(six), *two.findings(two))] == ["null"] * 2


def test_weights_of_zero_say_nothing():
    assert NeuronWeights.measure(planted(torch.zeros(6, 3).double())).findings() == ()
