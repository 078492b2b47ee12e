import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from analyses import AttentionSparsity
from analyses.attention.sparsity import counted_rows, fed_over, pattern_entropy
from hooks import Examples, Snapshot, build
from hooks.models import PostNormConfig
from interp.tasks.language.question_formation import QuestionFormation
from tests.planted import tiny_config, tokens_as_examples, uniform_attention_model

TOKENS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))


def test_uniform_attention_over_n_keys_has_entropy_log_n():
    assert pattern_entropy(torch.full((5,), 0.2)).item() == pytest.approx(math.log(5))


def test_attention_to_one_key_has_no_entropy():
    assert pattern_entropy(torch.tensor([0.0, 1.0, 0.0])).item() == 0


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=10))
def test_entropy_lies_between_0_and_log_n(weights):
    pattern = torch.tensor(weights).double()
    entropy = pattern_entropy(pattern / pattern.sum()).item()
    assert -1e-12 <= entropy <= math.log(len(weights)) + 1e-12


def test_entropy_equals_torchs_categorical():
    pattern = torch.rand(20, 7, generator=torch.Generator().manual_seed(0)).double()
    pattern = pattern / pattern.sum(-1, keepdim=True)
    assert_close(pattern_entropy(pattern), torch.distributions.Categorical(pattern).entropy())


def test_a_model_without_queries_has_entropy_log_t_in_row_t():
    snapshot = Snapshot.of(uniform_attention_model(), tokens_as_examples(TOKENS))
    found = AttentionSparsity.measure(snapshot).entropy
    np.testing.assert_allclose(found, (math.log(1) + math.log(2) + math.log(3)) / 3)


def test_rows_with_a_single_key_can_be_left_out():
    snapshot = Snapshot.of(uniform_attention_model(), tokens_as_examples(TOKENS))
    found = AttentionSparsity.measure(snapshot, single_key_rows=False)
    np.testing.assert_allclose(found.entropy, (math.log(2) + math.log(3)) / 2)
    assert found.summary()["single_key_rows"] == "left out"


def test_a_model_without_queries_spreads_over_the_mean_number_of_keys():
    snapshot = Snapshot.of(uniform_attention_model(), tokens_as_examples(TOKENS))
    found = AttentionSparsity.measure(snapshot)
    np.testing.assert_allclose(found.effective_keys, 2)
    np.testing.assert_allclose(found.largest_weight, (1 + 1 / 2 + 1 / 3) / 3)
    np.testing.assert_allclose(found.key_weight, 1 / 3)


def test_a_bidirectional_model_without_queries_has_entropy_log_n_in_every_row():
    model = uniform_attention_model(attention_dir="bidirectional")
    found = AttentionSparsity.measure(Snapshot.of(model, tokens_as_examples(TOKENS)))
    np.testing.assert_allclose(found.entropy, math.log(3))


def test_padding_is_not_counted():
    visible = torch.tensor([[True, True, False], [True, True, True]])
    assert counted_rows(visible, True, False).tolist() == [
        [False, True, False],
        [False, True, True],
    ]


def test_padded_examples_have_the_entropy_of_short_ones():
    full = tokens_as_examples(TOKENS)
    padded = Examples(
        targets=torch.zeros_like(full.targets),
        scored=torch.zeros_like(full.scored),
        tokens=full.tokens,
        lengths=torch.full((49,), 2),
    )
    found = AttentionSparsity.measure(Snapshot.of(uniform_attention_model(), padded))
    np.testing.assert_allclose(found.entropy, math.log(2) / 2)
    np.testing.assert_allclose(found.key_weight[..., 2], 0)


def test_the_headline_is_minus_the_mean_entropy(snapshot):
    found = AttentionSparsity.measure(snapshot)
    assert found.summary()["mean_negative_entropy"] == pytest.approx(-found.entropy.mean())


def test_layers_and_heads_have_a_row_each():
    snapshot = Snapshot.of(uniform_attention_model(n_layers=2), tokens_as_examples(TOKENS))
    frame = AttentionSparsity.measure(snapshot).to_frame()
    assert frame[["layer", "head"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def sentences_of(lengths, trees, tokens=TOKENS[:2]):
    """Examples of three tokens, the first of them a start token."""
    nothing = torch.zeros_like(tokens)
    return Examples(nothing, nothing.bool(), tokens, lengths=torch.tensor(lengths), trees=trees)


def test_what_follows_a_sentence_is_not_fed_where_trees_tell_where_it_ends():
    whole = sentences_of([3, 3], (1, (1, 2)))
    found = AttentionSparsity.measure(Snapshot.of(uniform_attention_model(), whole))
    # Rows of one and two keys, then of one, two and three.
    np.testing.assert_allclose(found.entropy, (2 * math.log(2) + math.log(3)) / 5)
    assert found.summary()["over"] == "sentences"


def test_whole_examples_can_be_fed_in_place_of_sentences():
    whole = sentences_of([3, 3], (1, (1, 2)))
    snapshot = Snapshot.of(uniform_attention_model(), whole)
    found = AttentionSparsity.measure(snapshot, over="examples")
    np.testing.assert_allclose(found.entropy, (math.log(2) + math.log(3)) / 3)
    assert found.summary()["over"] == "examples"


def test_examples_without_trees_are_fed_whole(snapshot):
    assert AttentionSparsity.measure(snapshot).over == "examples"


def test_feeding_something_else_is_refused(snapshot):
    with pytest.raises(ValueError, match="over 'words': take one of sentences, examples"):
        fed_over(snapshot, "words")


@pytest.mark.parametrize("kind", ["post_norm", "token"])
def test_entropy_of_sentences_is_that_of_each_fed_alone(kind):
    task = QuestionFormation(train_lines=20, validation_lines=12, generalization_lines=1)
    config = {"post_norm": PostNormConfig(n_layers=2, d_model=8, n_heads=2)}.get(kind)
    model: Any = build(config or tiny_config(n_layers=2), task.sizes, seed=0, dtype="float64")
    model.eval()  # no dropout
    examples = task.examples("validation", None, 0)
    found = AttentionSparsity.measure(Snapshot.of(model, examples)).entropy
    sums, rows = torch.zeros(2, 2, dtype=torch.float64), 0
    for line, words in zip(examples.model_inputs, examples.label("words").tolist(), strict=True):
        _, cache = model.run_with_cache(line[None, : words + 1])  # SOS and the words
        patterns = torch.cat([cache[f"blocks.{layer}.attn.hook_pattern"] for layer in range(2)])
        sums += torch.distributions.Categorical(patterns).entropy().sum(2)
        rows += words + 1
    np.testing.assert_allclose(found, sums / rows)
