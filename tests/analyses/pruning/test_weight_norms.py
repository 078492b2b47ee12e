import numpy as np
import pytest
import torch

from analyses import WeightNorms
from hooks import Sizes, Snapshot, build
from hooks.edit import Edit
from hooks.models import PostNormConfig
from tests.planted import random_model, tiny_config, tokens_as_examples
from tests.sweeps import drawn


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


def planted(factor, first=(3.0, 4.0, 0.0)):
    """Two matrices of two layers and a bias that is 0 at first."""
    return WeightNorms(
        names=("blocks.0.attn.W_Q", "blocks.1.attn.W_Q", "embed.W_E"),
        norms=factor * np.array(first),
        sizes=np.array([4, 4, 4]),
        first_norms=np.array(first),
        n_layers=2,
        is_per_layer=False,
    )


def test_norms_are_said_beside_those_of_the_first_step():
    (finding,) = planted(2.0).findings()
    assert (finding.strength, finding.figure) == ("found", "matrices")
    assert finding.text == (
        "The norm of all weights is 10, 2.00 times that at the first step, 5; without embeddings "
        "2.00 times"
    )


@pytest.mark.parametrize(("factor", "strength"), [(1.05, "not found"), (0.5, "found")])
def test_norms_must_change_by_a_tenth(factor, strength):
    assert planted(factor).findings()[0].strength == strength


@pytest.mark.parametrize("norms", [planted(1.0), planted(2.0, (0.0, 0.0, 0.0)), planted(np.nan)])
def test_nothing_is_said_at_the_first_step_or_without_a_first_norm(norms):
    assert norms.findings() == ()


def test_layers_stand_side_by_side_in_the_column_of_their_kind():
    figure = drawn(planted(2.0, (3.0, 4.0, 1.0)).figures()["matrices"])
    first, now = figure["data"]
    assert figure["layout"]["xaxis"]["ticktext"] == ["attn.W_Q", "embed.W_E"]
    assert now["x"] == first["x"] == [-0.25, 0.25, 1.0]
    assert (first["y"], now["y"]) == ([3, 4, 1], [6, 8, 2])
