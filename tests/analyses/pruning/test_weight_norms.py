import numpy as np
import pytest
import torch

from analyses import WeightNorms
from hooks import Sizes, Snapshot, build
from hooks.edit import Edit
from hooks.models import PostNormConfig
from tests.planted import random_model, tiny_config, tokens_as_examples


def doubled(snapshot):
    parameters = snapshot.parameters()
    return snapshot.edited(Edit(parameters={name: lambda value: 2 * value for name in parameters}))


def test_the_total_is_the_norm_of_all_parameters_together(snapshot):
    every = torch.cat([each.flatten() for each in snapshot.parameters().values()])
    assert WeightNorms.measure(snapshot).total() == pytest.approx(every.norm().item())


def test_the_total_without_embeddings_is_that_of_the_blocks(snapshot):
    parameters = snapshot.parameters().items()
    blocks = torch.cat([each.flatten() for name, each in parameters if name.startswith("blocks")])
    total = WeightNorms.measure(snapshot).total(embeddings=False)
    assert total == pytest.approx(blocks.norm().item())


def test_doubled_weights_have_grown_twofold(snapshot):
    first = WeightNorms.measure(snapshot)
    later = WeightNorms.measure(doubled(snapshot), reference=first).summary()
    assert later["growth"] == pytest.approx(2)
    assert later["growth_without_embeddings"] == pytest.approx(2)
    assert later["rms"] == pytest.approx(2 * first.summary()["rms"])


def test_the_first_snapshot_has_not_grown(snapshot):
    assert WeightNorms.measure(snapshot).summary()["growth"] == 1


def test_dividing_by_layers_halves_the_total_of_two():
    tokens = torch.tensor([[1, 2, 7]])
    snapshot = Snapshot.of(random_model(n_layers=2), tokens_as_examples(tokens))
    whole, shared = (WeightNorms.measure(snapshot, per_layer=each) for each in (False, True))
    assert shared.total() == pytest.approx(whole.total() / 2)
    assert shared.summary()["divided_by_layers"] == "yes"


@pytest.mark.parametrize("config", [PostNormConfig(n_layers=2, d_model=8, n_heads=2),
                                    tiny_config(n_layers=2, normalization_type="LN")])  # fmt: skip
def test_embeddings_layers_norms_and_biases_count_and_sinusoids_do_not(config):
    sizes = Sizes(d_vocab=11, d_vocab_out=11, n_ctx=9)
    snapshot = Snapshot.of(
        build(config, sizes, seed=0), tokens_as_examples(torch.zeros(1, 9).long())
    )
    found = WeightNorms.measure(snapshot)
    learned = {"pos_embed.W_pos"} if config.kind == "token" else set()
    kinds = {name.split(".", 2)[-1] for name in found.names if name.startswith("blocks")}
    assert {"embed.W_E", "unembed.W_U", "unembed.b_U"} | learned <= {*found.names}
    assert {"ln1.w", "ln2.b", "attn.W_Q", "mlp.b_in"} <= kinds
    assert ("pos_embed.W_pos" in found.names) == bool(learned)


def test_layers_add_up_to_the_total_without_embeddings():
    tokens = torch.tensor([[1, 2, 7]])
    snapshot = Snapshot.of(random_model(n_layers=2), tokens_as_examples(tokens))
    norms = WeightNorms.measure(snapshot)
    assert np.linalg.norm(norms.layer_norms()) == pytest.approx(norms.total(embeddings=False))


def test_a_matrix_that_started_at_zero_has_no_growth(grokked):
    first = WeightNorms.measure(grokked.snapshot(0))
    frame = WeightNorms.measure(grokked.snapshot(), reference=first).to_frame().set_index("name")
    assert np.isnan(frame.loc["unembed.b_U", "growth"])


def test_memorising_grows_the_weights_and_cleanup_shrinks_them(grokked):
    norms = grokked.series().scalars("WeightNorms").set_index("step")["total"]
    assert norms.loc[0] < norms.loc[grokked.steps[-1]] < norms.max()


def test_what_began_at_0_has_not_grown_by_any_number(snapshot):
    nothing = snapshot.edited(
        Edit(parameters=dict.fromkeys(snapshot.parameters(), torch.zeros_like))
    )
    first = WeightNorms.measure(nothing)
    summary = WeightNorms.measure(snapshot, reference=first).summary()
    assert np.isnan([summary["growth"], summary["growth_without_embeddings"]]).all()
    assert np.isnan(first.summary()["growth"])
