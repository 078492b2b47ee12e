import math
from typing import Any

import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from hooks import Sizes, build
from hooks.examples import token_losses
from hooks.fast.single import NeuronTables, training_logits
from hooks.models import MLPConfig, config_of, parameters_of, restore
from hooks.weights import has_weight, weight
from tests.hooks.models.networks import (
    PAIRS,
    TOKENS,
    VARIANTS,
    N,
    P,
    config,
    every,
    random_mlp,
    snapshot_of,
)


def by_hand(model, a, b):
    """Logits of one pair, product by product."""
    own, options = parameters_of(model), model.config
    tables = own["blocks.0.mlp.W_in" if options.collapsed_in else "embed.W_E"]
    first = [tables[x] if options.shared_embedding else tables[o][x] for o, x in enumerate((a, b))]
    if not options.collapsed_in:
        W_in = own["blocks.0.mlp.W_in"]
        first = [e @ (W_in if options.shared_in else W_in[o]) for o, e in enumerate(first)]
    pre = first[0] + first[1] + own.get("blocks.0.mlp.b_in", 0)
    post = {"relu": pre.clamp(min=0), "square": pre**2, "abs": pre.sign() * pre}.get(
        options.act_fn, pre * (1 + torch.erf(pre / math.sqrt(2))) / 2
    )
    if options.tied:
        last = tables.T
    else:
        last = own["blocks.0.mlp.W_out" if options.collapsed_out else "unembed.W_U"]
    written = post if options.collapsed_out else post @ own["blocks.0.mlp.W_out"]
    return written @ last + own.get("unembed.b_U", 0)


def test_there_are_sixteen_variants():
    assert len({str(each) for each in VARIANTS}) == 16


@every
def test_logits_are_the_products_of_the_matrices(options):
    model = random_mlp(**options)
    expected = torch.stack([by_hand(model, a, b) for a, b in PAIRS.tolist()])
    assert_close(model(PAIRS)[:, 0], expected)


@every
def test_neuron_in_and_neuron_out_give_the_logits_without_biases(options):
    model = random_mlp(**options)
    own = parameters_of(model)
    for name in own:
        if name.rpartition(".")[2].startswith("b_"):
            own[name].zero_()
    snapshot = snapshot_of(model)
    reads, writes = snapshot.weights("neuron_in"), snapshot.weights("neuron_out")
    pre = reads[0][PAIRS[:, 0]] + reads[-1][PAIRS[:, 1]]
    assert_close(model.activates(pre[:, None]) @ writes, snapshot.logits())


@every
@pytest.mark.parametrize("name", ["W_E", "W_U", "neuron_in", "neuron_out"])
def test_views_of_stacked_parameters_are_the_views_stacked(options, name):
    models = [parameters_of(random_mlp(seed=seed, **options)) for seed in range(3)]
    stacked = {each: torch.stack([own[each] for own in models]) for each in models[0]}
    expected = torch.stack([weight(config(**options), own, name) for own in models])
    assert_close(weight(config(**options), stacked, name), expected)


@every
def test_the_fast_path_has_the_models_own_loss_and_gradients(options):
    model = random_mlp(**options)
    fast, parameters = training_logits(model, config(**options), "last"), list(model.parameters())
    found = []
    for logits_of in (fast, model):
        loss = token_losses(logits_of(PAIRS), PAIRS.sum(1, keepdim=True) % P).mean()
        found.append((loss, torch.autograd.grad(loss, parameters)))
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


@every
@pytest.mark.parametrize("is_fast", [True, False])
def test_gradients_of_a_stack_are_the_gradients_one_by_one(options, is_fast):
    models = [random_mlp(seed=seed, **options) for seed in range(3)]
    fast: Any = training_logits(models[0], config(**options), "last")
    module, prefix = (fast, "model.") if is_fast else (models[0], "")

    def loss(parameters):
        named = {prefix + name: value for name, value in parameters.items()}
        return functional_call(module, named, (PAIRS,)).square().sum()

    members = [parameters_of(model) for model in models]
    stacked = {name: torch.stack([own[name] for own in members]) for name in members[0]}
    one_by_one = [grad(loss)(own) for own in members]
    assert_close(
        vmap(grad(loss))(stacked),
        {name: torch.stack([each[name] for each in one_by_one]) for name in stacked},
    )


@every
def test_a_restored_network_has_the_same_logits(options):
    model = random_mlp(**options)
    again = restore(config_of(model), TOKENS, parameters_of(model))
    assert torch.equal(again(PAIRS), model(PAIRS))


def test_an_update_of_the_articles_network_takes_under_a_tenth_of_the_operations():
    options = MLPConfig(d_model=500, d_mlp=24, tied=True)
    model = build(options, Sizes(d_vocab=67, d_vocab_out=67, n_ctx=2), seed=0)
    pairs = torch.randint(67, (911, 2), generator=torch.Generator().manual_seed(0))
    counts = []
    for logits_of in (model, training_logits(model, options, "last")):
        with FlopCounterMode(display=False) as counter:
            logits_of(pairs).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[1] < 0.1 * counts[0]


def test_a_small_batch_runs_the_model_as_it_is():
    model = random_mlp()
    fast = training_logits(model, config(), "last")
    assert torch.equal(fast(PAIRS[:P]), model(PAIRS[:P]))


def test_a_loss_on_all_positions_takes_the_fast_path_too():
    assert isinstance(training_logits(random_mlp(), config(), "all"), NeuronTables)


def test_operands_that_share_weights_are_one_operand():
    assert weight(config(), parameters_of(random_mlp()), "neuron_in").shape == (1, P, N)


def test_operands_with_weights_of_their_own_are_two():
    own = parameters_of(random_mlp(shared_in=False))
    assert weight(config(shared_in=False), own, "neuron_in").shape == (2, P, N)


def test_a_shared_network_does_not_tell_the_operands_apart():
    model = random_mlp()
    assert_close(model(PAIRS), model(PAIRS.flip(1)))


def test_a_tied_network_has_no_unembedding():
    assert "unembed.W_U" not in parameters_of(random_mlp(tied=True))


def test_a_tied_unembedding_is_the_embedding_transposed():
    own = parameters_of(random_mlp(tied=True))
    assert_close(weight(config(tied=True), own, "W_U"), own["embed.W_E"].T)


def test_the_collapsed_network_has_two_matrices():
    own = parameters_of(random_mlp(collapsed_in=True, collapsed_out=True))
    assert list(own) == ["blocks.0.mlp.W_in", "blocks.0.mlp.W_out"]


@pytest.mark.parametrize("name", ["W_E", "neuron_in"])
def test_a_collapsed_networks_embedding_is_what_its_neurons_read(name):
    options: dict[str, Any] = {"collapsed_in": True, "shared_embedding": False}
    own = parameters_of(random_mlp(**options))
    found = weight(config(**options), own, name)
    planes = own["blocks.0.mlp.W_in"]
    assert_close(found, planes if name == "neuron_in" else torch.cat(list(planes), dim=1))


def test_a_network_without_positions_has_no_W_pos():
    assert not has_weight(config(), parameters_of(random_mlp()), "W_pos")
