import pytest
import torch
from torch.testing import assert_close

from hooks import Examples, Series, Sizes, Snapshot
from hooks.edit import without_neurons
from hooks.examples import token_losses
from hooks.fast.single import training_logits
from hooks.models import parameters_of, restore
from hooks.neuron_readout import neuron_readout
from hooks.weights import weight
from tests.hooks.models.networks import PAIRS, REAL, TOKENS, N, P, config, random_mlp, snapshot_of
from tests.planted import tokens_as_examples


def test_a_single_logit_is_that_of_the_second_class():
    own = parameters_of(random_mlp(REAL, collapsed_in=True, collapsed_out=True, one_logit=True))
    model = restore(config(collapsed_in=True, collapsed_out=True, one_logit=True), REAL, own)
    x = torch.randn(4, 1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = (x @ own["blocks.0.mlp.W_in"]).clamp(min=0) @ own["blocks.0.mlp.W_out"]
    assert_close(model(x), torch.cat([torch.zeros_like(z), z], dim=-1))


def test_a_single_logit_writes_nothing_to_the_first_class():
    options = {"collapsed_in": True, "collapsed_out": True, "one_logit": True}
    own = parameters_of(random_mlp(REAL, **options))
    writes = weight(config(**options), own, "neuron_out")
    assert_close(writes, torch.cat([torch.zeros(N, 1), own["blocks.0.mlp.W_out"]], dim=1).double())


def test_cross_entropy_of_a_single_logit_is_binary_cross_entropy():
    options = {"collapsed_in": True, "collapsed_out": True, "one_logit": True, "bias_out": True}
    model = random_mlp(REAL, **options)
    x = torch.randn(6, 1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([[0], [1], [1], [0], [1], [0]])
    logits = model(x)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[..., 1], y.double())
    assert_close(token_losses(logits, y).mean(), expected)


@pytest.mark.parametrize("options", [{}, {"collapsed_in": True}, {"shared_embedding": False}])
def test_real_inputs_that_are_one_hot_are_tokens(options):
    sizes = Sizes(d_in=P, d_vocab_out=P, n_ctx=2)
    own = parameters_of(random_mlp(**options))
    model = restore(config(**options), sizes, own)
    one_hot = torch.nn.functional.one_hot(PAIRS, P).float()  # cast to the weights' float64
    assert_close(model(one_hot), restore(config(**options), TOKENS, own)(PAIRS))


def test_hook_points_show_embedding_neurons_output_and_logits():
    names = ["hook_embed", "blocks.0.mlp.hook_pre", "blocks.0.mlp.hook_post",
             "blocks.0.hook_mlp_out", "hook_logits"]  # fmt: skip
    cache = snapshot_of(random_mlp(d_model=4)).cache(names)
    shapes = [tuple(cache[name].shape[1:]) for name in names]
    assert shapes == [(2, 4), (1, N), (1, N), (1, 4), (1, P)]


def test_neurons_are_their_own_activations():
    cache = snapshot_of(random_mlp()).cache(["blocks.0.mlp.hook_pre", "blocks.0.mlp.hook_post"])
    pre, post = cache.values()
    assert_close(post, pre.clamp(min=0))


def test_a_collapsed_output_has_no_hook_on_what_the_block_writes():
    with pytest.raises(ValueError, match=r"no hook point 'blocks\.0\.hook_mlp_out'"):
        snapshot_of(random_mlp(collapsed_out=True)).cache(["blocks.0.hook_mlp_out"])


def test_a_silenced_neuron_adds_nothing():
    snapshot = snapshot_of(random_mlp())
    name, writes = "blocks.0.mlp.hook_post", snapshot.weights("neuron_out")
    left = snapshot.logits() - snapshot.cache([name])[name][..., [2]] * writes[2]
    assert_close(snapshot.edited(without_neurons(0, [2])).logits(), left)


@pytest.mark.parametrize("options", [{}, {"tied": True, "bias_out": True}, {"collapsed_out": True}])
def test_neurons_that_are_read_out_are_those_of_an_edit(options):
    snapshot = snapshot_of(random_mlp(**options))
    is_kept = ~torch.isin(torch.arange(N), torch.tensor([0, 4]))
    expected = snapshot.edited(without_neurons(0, [0, 4])).logits()[:, 0]
    assert_close(neuron_readout(snapshot)(is_kept), expected)


def test_a_snapshots_answers_are_those_of_the_last_position():
    examples, both = snapshot_of(random_mlp()).examples, tokens_as_examples(PAIRS)
    assert torch.equal(examples.targets, both.targets[:, 1:])
    assert torch.equal(examples.scored, both.scored[:, 1:])


def test_a_snapshots_examples_keep_their_operands_visible():
    assert snapshot_of(random_mlp()).examples.visible.shape == (49, 2)


def test_examples_scored_earlier_are_refused():
    everywhere = Examples(
        targets=torch.zeros(3, 2, dtype=torch.long),
        scored=torch.ones(3, 2, dtype=torch.bool),
        tokens=PAIRS[:3],
    )
    with pytest.raises(ValueError, match="answers at the last 1 positions, these examples are"):
        Snapshot.of(random_mlp(), everywhere)


def test_a_series_of_a_live_network_knows_its_sizes():
    model = random_mlp(REAL)
    examples = Examples(
        targets=torch.zeros(3, 1, dtype=torch.long),
        scored=torch.ones(3, 1, dtype=torch.bool),
        inputs=torch.ones(3, 1, 5),
    )
    series = Series.of(model, {0: parameters_of(model)}, examples)
    assert torch.equal(series.snapshot(0, examples).logits(), model(examples.inputs).detach())


def test_dropout_is_off_in_a_snapshot():
    snapshot = snapshot_of(random_mlp(dropout=0.5))
    plain = restore(config(), TOKENS, snapshot.parameters())
    assert torch.equal(snapshot.logits(), plain(PAIRS))


def test_dropout_changes_training():
    model = random_mlp(dropout=0.5)
    model.train()
    logits = [training_logits(model, config(dropout=0.5), "last")(PAIRS) for _ in range(2)]
    assert not torch.equal(*logits)
