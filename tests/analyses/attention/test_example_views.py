from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from analyses import ExampleViews
from analyses.plots.views import View
from hooks import Facts, Sizes, Snapshot
from hooks.edit import with_weights
from interp.runs.results import write_result
from tests.planted import random_model, tokens_as_examples


def test_losses_are_those_of_the_scored_positions(snapshot):
    found = ExampleViews.measure(snapshot)
    logits = snapshot.logits()[:8, -1]
    wanted = cross_entropy(logits, snapshot.examples.targets[:8, -1], reduction="none")
    np.testing.assert_allclose(found.loss[:, -1], wanted)
    assert np.isnan(found.loss[:, :-1]).all()


def test_answers_are_the_models_own(snapshot):
    found = ExampleViews.measure(snapshot)
    assert found.answers == tuple(snapshot.logits()[:8, -1].argmax(-1).tolist())


def test_the_attention_kept_is_the_models_own(snapshot):
    name = "blocks.0.attn.hook_pattern"
    pattern = snapshot.cache([name])[name][:2]
    np.testing.assert_allclose(ExampleViews.measure(snapshot).pattern[:, 0], pattern, rtol=5e-4)


def activations_of(snapshot):
    """Of every neuron of the one layer on the first 8 examples."""
    name = "blocks.0.mlp.hook_post"
    return snapshot.cache([name])[name][:8]


def test_the_activations_kept_are_the_models_own(snapshot):
    found = ExampleViews.measure(snapshot)
    wanted = activations_of(snapshot)[:, :, found.neurons[0]]
    np.testing.assert_allclose(found.activations[:, :, 0], wanted, rtol=1e-6)


def test_the_neurons_kept_are_those_with_the_largest_activations(snapshot):
    found = ExampleViews.measure(snapshot).neurons[0]
    peaks = activations_of(snapshot).numpy().max((0, 1))
    left_out = np.delete(peaks, found)
    assert sorted(peaks[found], reverse=True) == peaks[found].tolist()
    assert peaks[found].min() >= left_out.max()


def test_padding_makes_no_neuron_active(snapshot):
    lengths = torch.tensor([1, 3])
    some = snapshot.examples.head(2)
    scored = torch.arange(3) == lengths[:, None] - 1
    examples = replace(some, lengths=lengths, scored=scored)
    found = ExampleViews.measure(snapshot.on(examples))
    assert (found.activations[0, 1:] == 0).all()


def test_a_model_without_an_mlp_has_no_view_of_neurons(snapshot):
    alone = Snapshot.of(random_model(attn_only=True), snapshot.examples)
    assert "neurons" not in ExampleViews.measure(alone).figures()


def view_of(found, name):
    """One of the views."""
    view = found.figures()[name]
    assert isinstance(view, View)
    return view


def neurons_of(found):
    """What the view of neurons draws."""
    return view_of(found, "neurons").props


def test_one_layer_names_its_neurons(snapshot):
    found = ExampleViews.measure(snapshot)
    props = neurons_of(found)
    assert props["secondDimensionLabels"] == [str(neuron) for neuron in found.neurons[0]]


def test_neurons_of_several_layers_are_ranked(snapshot):
    deep = Snapshot.of(random_model(n_layers=2), snapshot.examples)
    props = neurons_of(ExampleViews.measure(deep))
    assert props["firstDimensionLabels"] == ["0", "1"]
    assert props["secondDimensionLabels"] == [f"no. {rank}" for rank in range(1, 6)]


def test_every_token_has_a_value_for_each_layer_and_neuron(snapshot):
    props = neurons_of(ExampleViews.measure(snapshot))
    assert np.shape(props["activations"]) == (*np.shape(props["tokens"]), 1, 5)


def test_there_are_views_of_tokens_of_neurons_and_of_attention_on_two_examples(snapshot):
    figures = ExampleViews.measure(snapshot).figures()
    assert list(figures) == ["tokens", "neurons", "attention_0", "attention_1"]
    assert all(isinstance(figure, View) for figure in figures.values())


def test_answers_of_the_first_step_stand_beside(snapshot):
    first = ExampleViews.measure(Snapshot.of(random_model(seed=1), snapshot.examples))
    found = ExampleViews.measure(snapshot, reference=first)
    alone = ExampleViews.measure(snapshot)
    assert view_of(found, "tokens").props == view_of(alone, "tokens").props
    assert view_of(found, "first_tokens").props == view_of(first, "tokens").props


def test_answers_are_named_where_the_task_has_names(snapshot):
    named = replace(snapshot.examples, facts=Facts(vocabulary=tuple(f"<{n}>" for n in range(7))))
    found = ExampleViews.measure(snapshot.on(named))
    shown = view_of(found, "tokens").props["tokens"]
    assert shown[shown.index("│ ") - 1] == f"<{found.answers[0]}> "


def test_a_reference_on_other_examples_is_refused(snapshot):
    other = ExampleViews.measure(snapshot.on(snapshot.examples.head(3)))
    with pytest.raises(ValueError, match="reference: it is of other examples"):
        ExampleViews.measure(snapshot, reference=other)


def test_each_neuron_has_the_colours_of_its_own_largest_activation(snapshot):
    W_in = snapshot.weights("blocks.0.mlp.W_in")
    unequal = snapshot.edited(with_weights({"blocks.0.mlp.W_in": W_in * torch.logspace(0, 3, 16)}))
    found = ExampleViews.measure(unequal)
    shares = np.array(neurons_of(found)["activations"])
    np.testing.assert_allclose(shares.max((0, 1)), 1)
    np.testing.assert_allclose(shares * found.activations.max((0, 1)), found.activations)


def test_the_largest_activation_of_each_neuron_is_told(snapshot):
    found = ExampleViews.measure(snapshot)
    neuron, peak = found.neurons[0, 0], found.activations[:, :, 0, 0].max()
    assert f"layer 0: {neuron} ({peak:.3g}), " in view_of(found, "neurons").caption


def test_neurons_that_never_fire_are_drawn_white(snapshot):
    silent = snapshot.edited(
        with_weights({f"blocks.0.mlp.{name}": snapshot.weights(f"blocks.0.mlp.{name}") * 0
                      for name in ("W_in", "b_in")})
    )  # fmt: skip
    assert not np.any(neurons_of(ExampleViews.measure(silent))["activations"])


def test_tokens_and_values_are_equally_many(snapshot):
    view = ExampleViews.measure(snapshot).plot()
    assert isinstance(view, View)
    assert len(view.props["tokens"]) == len(view.props["values"])


def test_the_colour_scale_ends_at_the_loss_of_guessing(snapshot):
    view = ExampleViews.measure(snapshot).plot()
    assert isinstance(view, View)
    assert (view.props["minValue"], view.props["maxValue"]) == (0, np.log(7))


@pytest.mark.parametrize(("direction", "masked"), [("causal", True), ("bidirectional", False)])
def test_the_upper_triangle_is_greyed_for_causal_models_alone(direction, masked):
    model = random_model(attention_dir=direction)
    snapshot = Snapshot.of(model, tokens_as_examples(torch.tensor([[1, 2, 7]])))
    view = ExampleViews.measure(snapshot).figures()["attention_0"]
    assert isinstance(view, View)
    assert view.props["maskUpperTri"] is masked


@pytest.fixture(scope="module")
def long():
    """Eight examples of 70 tokens, one more than CircuitsVis is given."""
    tokens = (torch.arange(70) + torch.arange(8)[:, None]) % 8
    model = random_model(Sizes(d_vocab=8, d_vocab_out=7, n_ctx=70))
    return Snapshot.of(model, tokens_as_examples(tokens))


def test_a_long_sequence_is_a_picture(long):
    view = ExampleViews.measure(long).figures()["attention_0"]
    assert isinstance(view, View)
    assert (view.component, view.props["width"], view.props["height"]) == ("Picture", 70, 70)


def test_of_a_long_sequence_the_mean_over_heads_is_kept(long):
    name = "blocks.0.attn.hook_pattern"
    wanted = long.cache([name])[name].mean(1)
    kept = ExampleViews.measure(long).pattern[:, 0, 0]
    np.testing.assert_allclose(kept, wanted[: len(kept)], rtol=1e-3, atol=1e-6)


def test_no_more_attention_is_kept_than_a_page_bears(long):
    assert ExampleViews.measure(long).pattern.shape == (2, 1, 1, 70, 70)


def test_where_two_examples_have_too_much_attention_one_is_kept():
    tokens = torch.randint(8, (3, 40), generator=torch.Generator().manual_seed(0))
    model = random_model(Sizes(d_vocab=8, d_vocab_out=7, n_ctx=40), n_layers=6)
    large = Snapshot.of(model, tokens_as_examples(tokens))  # 12 heads x 40 x 40
    assert ExampleViews.measure(large).pattern.shape == (1, 6, 2, 40, 40)


def test_a_saved_result_is_small(grokked, long, tmp_path):
    for snapshot in (grokked.snapshot(), long):
        write_result(tmp_path / "result.npz", ExampleViews.measure(snapshot), {})
        assert (tmp_path / "result.npz").stat().st_size < 60_000


def test_examples_without_words_show_their_token_numbers(snapshot):
    assert ExampleViews.measure(snapshot).words[1] == ("0", "1", "7")


def test_the_grokked_fixture_answers_right(grokked):
    assert ExampleViews.measure(grokked.snapshot(count=8)).summary()["accuracy"] == 1


def test_real_valued_inputs_are_refused(snapshot):
    from hooks import Examples

    examples = Examples(
        targets=torch.zeros(1, 3), scored=torch.ones(1, 3).bool(), inputs=torch.zeros(1, 3, 2)
    )
    with pytest.raises(ValueError, match="ExampleViews needs tokens, and this task has real"):
        ExampleViews.measure(snapshot.on(examples))


def test_an_answer_stands_behind_the_position_it_was_given_at(snapshot):
    some = snapshot.examples.head(1)
    scored = torch.tensor([[False, True, False]])
    examples = replace(some, scored=scored, targets=some.targets[:, [0, 2, 0]], words=None)
    found = ExampleViews.measure(snapshot.on(examples))
    tokens = found.figures()["tokens"]
    assert isinstance(tokens, View)
    assert [each.strip() for each in tokens.props["tokens"]] == [
        *found.words[0][:2],
        str(found.answers[0]),
    ]
    assert tokens.props["values"] == pytest.approx([0, 0, found.loss[0, 1]])
