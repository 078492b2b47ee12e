"""`PruningTrace` of the single weights of a matrix."""

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import PruningTrace
from analyses.plots.figures import Figure
from analyses.pruning.sizes import effective_weights
from analyses.statistics import MEASURES
from hooks import Series, build
from hooks.models import MLPConfig, parameters_of
from interp.runs.results import write_result
from tests.planted import SIZES, random_model, tokens_as_examples

W_IN = "blocks.0.mlp.W_in"
PAIRS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))


def series_of(values):
    """Three steps of a tiny model whose parameters of these names are as given at each."""
    model = random_model()
    own = parameters_of(model)
    checkpoints = {
        step: own | {name: each[place] for name, each in values.items()}
        for place, step in enumerate((0, 10, 20))
    }
    return Series.of(model, checkpoints, tokens_as_examples(PAIRS))


@pytest.fixture
def series():
    models = {step: random_model(seed=step, n_layers=2) for step in (0, 1)}
    checkpoints = {step: parameters_of(model) for step, model in models.items()}
    return Series.of(models[0], checkpoints, tokens_as_examples(PAIRS))


def test_single_weights_of_a_named_parameter_keep_their_sign():
    W_in = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(0)).double()
    trace = PruningTrace.measure(series_of({W_IN: W_in}), matrix=W_IN, paths=128)
    np.testing.assert_array_equal(trace.paths, W_in.flatten(1).T.float())
    assert trace.members[17].tolist() == [1, 1]
    assert trace.rest.size == 0


def test_single_weights_are_effective_ones_unless_a_matrix_is_named(series):
    trace = PruningTrace.measure(series, by="weight", paths=10_000)
    assert trace.matrix == "effective"
    np.testing.assert_array_equal(trace.paths, effective_weights(series).flatten(1).T.float())


def test_effective_weights_do_not_change_when_weights_are_rescaled_across_the_relu():
    own = parameters_of(random_model())
    scale = torch.tensor([1.0, 3.0, 5.0])[:, None, None].double()
    both = {W_IN: own[W_IN] * scale, "blocks.0.mlp.W_out": own["blocks.0.mlp.W_out"] / scale}
    trace = PruningTrace.measure(series_of(both), by="weight")
    np.testing.assert_allclose(trace.paths[:, 1:], trace.paths[:, [0, 0]], rtol=1e-6)


def test_any_view_can_be_traced(series):
    trace = PruningTrace.measure(series, matrix="W_U", paths=1000)
    np.testing.assert_array_equal(trace.paths, series.weights("W_U").flatten(1).T.float())


def test_the_weights_of_a_network_without_attention_can_be_traced():
    model = build(MLPConfig(d_model=8, d_mlp=16), SIZES, seed=0, dtype="float64")
    own = parameters_of(model)
    series = Series.of(model, {0: own}, tokens_as_examples(PAIRS))
    trace = PruningTrace.measure(series, by="weight", key=[0, 1], paths=128)
    writes = (own["blocks.0.mlp.W_out"] @ own["unembed.W_U"]).norm(dim=1)
    expected = (own["embed.W_E"] @ own[W_IN]) * writes
    np.testing.assert_allclose(trace.paths[:, 0], expected.flatten(), rtol=1e-6)
    assert trace.totals == (2 * 16, 6 * 16)


def test_rows_named_as_key_are_all_weights_of_those_inputs():
    trace = PruningTrace.measure(series_of({}), matrix=W_IN, key=[0, 2], paths=128)
    assert set(trace.members[trace.is_key, 0]) == {0, 2}
    assert trace.totals == (2 * 16, 6 * 16)


def test_pruned_distractors_are_found_at_the_step_they_die():
    W_in = torch.ones(3, 8, 16).double()
    W_in[1:, 3:] = torch.tensor([2.0, 0.01])[:, None, None]
    trace = PruningTrace.measure(series_of({W_IN: W_in}), matrix=W_IN, key=[0, 1, 2])
    assert trace.counts.tolist() == [[48, 48, 48], [80, 80, 0]]
    assert (trace.t_peak, trace.t_half, trace.t_pruned) == (10, 20, 20)
    np.testing.assert_allclose(trace.norms[1], np.sqrt(80) * np.array([1, 2, 0.01]))


def test_numbers_do_not_depend_on_how_many_paths_are_kept(grokked):
    many, few = (
        PruningTrace.measure(grokked.series(), matrix="W_E", paths=paths) for paths in (3000, 20)
    )
    np.testing.assert_array_equal(few.norms, many.norms)
    np.testing.assert_array_equal(few.counts, many.counts)
    np.testing.assert_array_equal(few.concentration, many.concentration)


def test_few_paths_are_the_largest_of_each_group():
    W_in = torch.zeros(3, 8, 16).double()
    W_in[:, 0] = torch.arange(16).double() + 1
    W_in[1, 1] = -torch.arange(16).double() - 1
    trace = PruningTrace.measure(series_of({W_IN: W_in}), matrix=W_IN, key=[0], paths=4)
    assert trace.members.tolist() == [[0, 14], [0, 15], [1, 14], [1, 15]]
    assert trace.is_key.tolist() == [True, True, False, False]
    assert trace.paths[:, 1].tolist() == [15, 16, -15, -16]


def test_a_group_of_few_leaves_its_places_to_the_other():
    trace = PruningTrace.measure(series_of({}), matrix="blocks.0.mlp.b_in", key=[0], paths=6)
    assert trace.is_key.sum() == 1
    assert len(trace.paths) == 6


def test_the_rest_are_quantiles_of_what_has_no_path():
    W_in = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(0)).double()
    trace = PruningTrace.measure(series_of({W_IN: W_in}), matrix=W_IN, paths=30)
    has_path = np.zeros((8, 16), dtype=bool)
    has_path[tuple(trace.members.T)] = True
    rest = np.sort(W_in[2].numpy()[~has_path])
    assert len(rest) == 98
    np.testing.assert_allclose(
        trace.rest[[0, 3, 6], 2], [rest[0], rest[48:50].mean(), rest[-1]], rtol=1e-6
    )
    assert "rest" in trace.figures()


def test_sparsity_is_of_all_weights(grokked):
    trace = PruningTrace.measure(grokked.series(), matrix="W_E", paths=2)
    whole = grokked.series().weights("W_E").double().flatten(1)
    for name, measure in MEASURES.items():
        np.testing.assert_allclose(trace.sparsity(name), measure(whole))


def test_after_grokking_fewer_weights_carry_the_neurons(grokked):
    count = PruningTrace.measure(grokked.series(), by="weight").sparsity("effective_count")
    assert count[-1] < 0.6 * count[0]


def test_a_trace_of_single_weights_is_small_on_disk(grokked, tmp_path):
    trace = PruningTrace.measure(grokked.series(), by="weight")
    write_result(tmp_path / "trace.npz", trace, {})
    assert sum(trace.totals) > 40_000
    assert (tmp_path / "trace.npz").stat().st_size < 20_000


def test_titles_say_what_share_the_key_group_carries():
    W_in = torch.zeros(3, 8, 16).double()
    W_in[:, 0], W_in[:, 1] = 2, 1
    trace = PruningTrace.measure(series_of({W_IN: W_in}), matrix=W_IN, key=[0])
    title = "16 key weights of 128 carry 80% of the squared size at the end"
    figure = trace.plot()
    assert isinstance(figure, Figure)
    assert figure["layout"]["title"]["text"] == title


def test_weights_that_all_vanish_at_the_end_leave_a_trace_without_key_members():
    W_in = torch.ones(3, 8, 16).double() * torch.tensor([1.0, 2, 0])[:, None, None]
    trace = PruningTrace.measure(series_of({W_IN: W_in}), matrix=W_IN)
    assert trace.totals == (0, 128)
    assert trace.t_pruned == 20
    assert pd.isna(trace.summary()["others_over_key_at_end"])
    assert trace.figures()


def test_a_matrix_that_is_always_zero_is_refused():
    with pytest.raises(ValueError, match="every size is 0 at every step"):
        PruningTrace.measure(series_of({W_IN: torch.zeros(3, 8, 16).double()}), matrix=W_IN)


def test_weights_that_are_not_finite_are_refused_with_the_step():
    W_in = torch.ones(3, 8, 16).double()
    W_in[1, 2, 3] = torch.nan
    with pytest.raises(
        ValueError, match=r"matrix 'blocks.0.mlp.W_in' is NaN or infinite at step 10"
    ):
        PruningTrace.measure(series_of({W_IN: W_in}), matrix=W_IN)


def test_a_matrix_that_is_not_there_is_refused_with_those_that_are(grokked):
    with pytest.raises(ValueError, match="no weight 'W_in'; there are W_E"):
        PruningTrace.measure(grokked.series(), matrix="W_in")


def test_a_matrix_named_for_another_kind_is_refused(grokked):
    with pytest.raises(ValueError, match="matrix names whose single weights are traced: drop it"):
        PruningTrace.measure(grokked.series(), by="neuron", matrix="W_E")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"matrix": "W_E", "key": [54]}, r"key = \[54\]: there are 54 rows, counted from 0"),
        ({"by": "head", "key": [4]}, r"key = \[4\]: there are 4 members"),
        ({"matrix": "W_E", "paths": 1}, "paths = 1: keep two at least"),
        ({"share": 0.0}, "share = 0.0"),
    ],
)
def test_options_that_do_not_fit_are_refused(grokked, options, message):
    with pytest.raises(ValueError, match=message):
        PruningTrace.measure(grokked.series(), **options)


def test_a_series_of_other_shapes_is_refused_with_the_step():
    narrow = {
        W_IN: [torch.ones(8, 16).double(), torch.ones(8, 5).double(), torch.ones(8, 16).double()]
    }
    with pytest.raises(ValueError, match=r"step 10: members have shape \[8, 5\], at the last"):
        PruningTrace.measure(series_of(narrow), matrix=W_IN)
