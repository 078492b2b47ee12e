import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from analyses import ExampleViews
from analyses.plots import Figure
from analyses.views import View
from hooks import Sizes, Snapshot
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
    pattern = snapshot.cache([name])[name][:8]
    np.testing.assert_allclose(ExampleViews.measure(snapshot).pattern[:, 0], pattern, rtol=1e-6)


def test_there_is_a_view_of_tokens_and_one_of_attention_an_example(snapshot):
    figures = ExampleViews.measure(snapshot).figures()
    assert list(figures) == ["tokens", *(f"attention_{i}" for i in range(8))]
    assert all(isinstance(figure, View) for figure in figures.values())


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


def test_a_long_sequence_is_drawn_as_a_heat_map():
    tokens = torch.arange(70)[None] % 8
    model = random_model(Sizes(d_vocab=8, d_vocab_out=7, n_ctx=70))
    figures = ExampleViews.measure(Snapshot.of(model, tokens_as_examples(tokens))).figures()
    assert isinstance(figures["attention_0"], Figure)


def test_examples_without_words_show_their_token_numbers(snapshot):
    assert ExampleViews.measure(snapshot).words[1] == ("0", "1", "7")


def test_the_grokked_fixture_answers_right(grokked):
    assert ExampleViews.measure(grokked.snapshot(count=8)).summary()["accuracy"] == 1


def test_real_valued_inputs_are_refused(snapshot):
    from hooks import Examples

    examples = Examples(
        targets=torch.zeros(1, 3), scored=torch.ones(1, 3).bool(), inputs=torch.zeros(1, 3, 2)
    )
    with pytest.raises(ValueError, match="ExampleViews does not apply: tokens missing"):
        ExampleViews.measure(snapshot.on(examples))
