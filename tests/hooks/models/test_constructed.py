import math

import pytest
import torch
from torch.testing import assert_close

from hooks import Sizes, Snapshot, build
from hooks.models import ConstructedConfig, config_of, parameters_of, restore
from hooks.models.constructed import leads
from hooks.weights import weight
from interp.tasks.modular_arithmetic import ModularArithmetic

# Accuracy over all pairs by plain arg max, of an implementation apart from this one: rows are
# nonlinearity and modulus, columns 2, 3, 5, 6, 7, 8, 9 and 10 neurons. Ties decide none of them.
NEURONS = (2, 3, 5, 6, 7, 8, 9, 10)
TABLE = {
    ("relu", 67): (0.0149, 0.0225, 1, 0.1940, 1, 0.6418, 1, 1),
    ("relu", 113): (0.0088, 0.0132, 1, 0.1150, 1, 0.3097, 1, 1),
    ("relu", 59): (0.0169, 0.0256, 1, 0.2203, 1, 0.8305, 1, 1),
    ("relu", 31): (0.0323, 0.0489, 1, 0.4839, 1, 1, 1, 1),
    ("square", 67): (0.0149, 1, 1, 1, 1, 1, 1, 1),
}
CELLS = [
    (act_fn, p, d_mlp, share)
    for (act_fn, p), row in TABLE.items()
    for d_mlp, share in zip(NEURONS, row, strict=True)
]


def sizes_of(p):
    return ModularArithmetic(p=p, equals=False).sizes


def constructed(p, *, seed=0, **options):
    config = ConstructedConfig.model_validate(options)
    return build(config, sizes_of(p), seed=seed, dtype="float64")


def right_answers(p, **options):
    """How many of all pairs the network answers right, with a lead of 1e-9."""
    examples = ModularArithmetic(p=p, equals=False).examples("all", None, 0)
    snapshot = Snapshot.of(constructed(p, **options), examples)
    return int((leads(snapshot.logits(), snapshot.examples.targets) >= 1e-9).sum())


@pytest.mark.parametrize("p", [67, 97, 113])
def test_five_neurons_add_without_a_fault(p):
    assert right_answers(p) == p * p


@pytest.mark.parametrize("p", range(12, 81, 2))
def test_for_even_moduli_five_neurons_miss_the_pairs_half_a_circle_apart(p):
    assert right_answers(p) == p * p - p


@pytest.mark.parametrize("p", [31, 67])
def test_four_neurons_rest_on_ties(p):
    assert right_answers(p, d_mlp=4) == p


@pytest.mark.parametrize(("act_fn", "p", "d_mlp", "share"), CELLS)
def test_accuracy_by_width_and_modulus(act_fn, p, d_mlp, share):
    assert right_answers(p, act_fn=act_fn, d_mlp=d_mlp) / p**2 == pytest.approx(share, abs=6e-5)


@pytest.mark.parametrize("p", [31, 67])
@pytest.mark.parametrize("d_mlp", [3, *range(5, 17)])
def test_squares_of_three_or_at_least_five_neurons_are_exact(p, d_mlp):
    assert right_answers(p, act_fn="square", d_mlp=d_mlp) == p * p


@pytest.mark.parametrize("d_mlp", [3, 5, 6, 11])
def test_squares_give_a_wave_of_the_sum_times_one_of_the_difference(d_mlp):
    p, w = 13, 2 * math.pi / 13
    a, b, c = torch.meshgrid(*(torch.arange(p).double(),) * 3, indexing="ij")
    expected = d_mlp * torch.cos((a - b) * w / 2) ** 2 * torch.cos((a + b - c) * w)
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    logits = constructed(p, d_mlp=d_mlp, act_fn="square")(pairs)
    assert_close(logits.detach(), expected.reshape(-1, 1, p))


@pytest.mark.parametrize("p", [12, 30])
def test_for_even_moduli_squares_say_nothing_half_a_circle_apart(p):
    a = torch.arange(p)
    logits = constructed(p, act_fn="square")(torch.stack([a, (a + p // 2) % p], dim=1))
    assert_close(logits.detach(), torch.zeros(p, 1, p, dtype=torch.float64))


def test_the_output_angle_is_twice_the_input_angle():
    own = parameters_of(constructed(67, d_mlp=7))
    x, y = own["blocks.0.mlp.W_in"]
    cos, sin = own["blocks.0.mlp.W_out"].T
    assert_close(torch.stack([cos, sin]), torch.stack([x**2 - y**2, 2 * x * y]))


@pytest.mark.parametrize("frequency", [2, 5])
def test_any_frequency_prime_to_the_modulus_adds(frequency):
    assert right_answers(67, frequency=frequency) == 67**2


def test_a_frequency_that_divides_the_modulus_confuses_residues():
    assert right_answers(15, frequency=3, d_mlp=7) == 0  # c and c + 5 tie


@pytest.mark.parametrize("p", [13, 67])
def test_the_analytic_network_adds_once_it_is_wide(p):
    assert right_answers(p, network="analytic", d_mlp=16 * p) == p * p


@pytest.mark.parametrize("p", [13, 67])
def test_the_analytic_network_gains_with_width(p):
    widths = (p // 4, p // 2, 8 * p)
    shares = [right_answers(p, network="analytic", d_mlp=width) for width in widths]
    assert shares == sorted(set(shares))


def test_phases_of_the_analytic_network_are_its_seeds():
    first, second, other = (
        parameters_of(constructed(13, network="analytic", seed=seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first["blocks.0.mlp.W_in"], second["blocks.0.mlp.W_in"])
    assert not torch.equal(first["blocks.0.mlp.W_in"], other["blocks.0.mlp.W_in"])


def test_neurons_of_the_analytic_network_hold_one_frequency_each():
    p, width = 13, 8
    own = parameters_of(constructed(p, network="analytic", d_mlp=width))
    reads = weight(ConstructedConfig(network="analytic", d_mlp=width), own, "neuron_in")
    power = torch.fft.rfft(reads, dim=1).abs().square()
    power = power.sum(0) / power.sum((0, 1))
    frequencies = [1, 2, 3, 4, 5, 6, 1, 2]
    assert_close(power[frequencies, range(width)], torch.ones(width, dtype=torch.float64))


def test_the_output_phase_of_the_analytic_network_is_the_sum_of_the_input_phases():
    p = 13
    own = parameters_of(constructed(p, network="analytic", d_mlp=4))
    config = ConstructedConfig(network="analytic", d_mlp=4)
    wave = torch.exp(-2j * math.pi * torch.outer(torch.arange(1, 5), torch.arange(p)) / p)
    reads = torch.einsum("oxn,nx->on", weight(config, own, "neuron_in").to(wave), wave)
    writes = torch.einsum("nx,nx->n", weight(config, own, "neuron_out").to(wave), wave)
    turned = (reads.angle().sum(0) - writes.angle()) / (2 * math.pi)
    assert_close(turned, turned.round(), atol=1e-5, rtol=0)  # complex64


def test_a_constructed_network_is_restored_from_its_own_config():
    model = constructed(13, network="analytic", seed=3)
    again = restore(config_of(model), sizes_of(13), parameters_of(model))
    pairs = torch.tensor([[3, 4], [12, 12]])
    assert torch.equal(again(pairs), model(pairs))


@pytest.mark.parametrize("name", ["W_E", "W_U", "neuron_in", "neuron_out"])
@pytest.mark.parametrize("network", ["circle", "analytic"])
def test_views_of_a_snapshot_fit_the_modulus(network, name):
    task = ModularArithmetic(p=13, equals=False)
    model = constructed(13, network=network)
    snapshot = Snapshot.of(model, task.examples("all", None, 0))
    assert 13 in snapshot.weights(name).shape


def test_leads_are_what_the_right_class_has_over_the_best_other():
    logits = torch.tensor([[1.0, 4.0, 2.5], [1.0, 4.0, 2.5], [3.0, 3.0, 0.0]])
    assert leads(logits, torch.tensor([1, 2, 0])).tolist() == [1.5, -1.5, 0.0]


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(d_vocab=8, d_vocab_out=7, n_ctx=3),
        Sizes(d_vocab=7, d_vocab_out=7, n_ctx=3),
        Sizes(d_vocab=1, d_vocab_out=1, n_ctx=2),
        Sizes(d_in=31, d_vocab_out=2, n_ctx=1),
    ],
    ids=["with =", "three operands", "modulus 1", "real inputs"],
)
def test_a_task_that_is_not_addition_of_two_is_refused(sizes):
    with pytest.raises(ValueError, match=r"\A[^\n]*adds two of p > 1 tokens, [^\n]*\Z"):
        build(ConstructedConfig(), sizes, seed=0)


@pytest.mark.parametrize("options", [{"d_mlp": 0}, {"network": "square"}, {"d_model": 3}])
def test_options_that_are_wrong_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ConstructedConfig.model_validate(options)
