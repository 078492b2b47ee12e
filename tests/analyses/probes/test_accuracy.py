from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom

from analyses import ProbeAccuracy
from analyses.plots.figures import Figure, as_data
from analyses.probes.inputs import places
from hooks import Examples, Snapshot, build
from hooks.edit import with_weights
from hooks.models import MLPConfig
from tests.planted import SIZES, random_model, tokens_as_examples

EMBED, MID, POST = "hook_embed", "blocks.0.hook_resid_mid", "blocks.0.hook_resid_post"
PAIRS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))
PRECISE = (1e-8,)


def direction(seed=0):
    return torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def untrained(grokked):
    return ProbeAccuracy.measure(grokked.snapshot(0))


@pytest.fixture(scope="module")
def trained(grokked, untrained):
    return ProbeAccuracy.measure(grokked.snapshot(), reference=untrained)


@pytest.fixture
def padded():
    """Pairs of which every other lacks its last position."""
    full = tokens_as_examples(PAIRS)
    lengths = torch.tensor([3, 2]).repeat(25)[:49]
    scored = torch.arange(3) == lengths[:, None] - 1
    return Examples(full.targets, scored, full.tokens, lengths=lengths, labels=dict(full.labels))


@pytest.fixture
def triples():
    """An untrained model on all triples of numbers below 7."""
    tokens = torch.cartesian_prod(*(torch.arange(7),) * 3)
    return Snapshot.of(random_model(), tokens_as_examples(tokens))


def test_the_answer_is_readable_after_grokking(trained):
    cell = trained.labels.index("c"), trained.sites.index(POST), 0
    assert trained.low[cell] > 0.95
    assert trained.summary()["c_site"] == "0.resid_post[-1]"


def test_the_answer_is_not_readable_before_training(untrained):
    cell = untrained.labels.index("c"), untrained.sites.index(POST), 0
    assert untrained.score[cell] < 0.05


def test_shuffled_labels_are_read_at_chance(trained):
    examples = trained.held_out[0]
    low, high = binom.interval(0.999, examples, 1 / 53)
    answers = trained.shuffled[:3].ravel() * examples
    assert (answers >= low).all()
    assert (answers <= high).all()


def test_the_numbers_are_in_the_input_and_their_sum_is_not_linearly(trained):
    raw = dict(zip(trained.labels, trained.raw[:, 0], strict=True))
    assert raw["a"] == raw["b"] == 1
    assert raw["c"] < 0.05


def test_the_untrained_models_scores_stand_beside(trained, untrained):
    np.testing.assert_array_equal(trained.untrained, untrained.score)


def test_which_pairs_were_trained_on_does_not_decide_the_split(grokked, trained):
    examples = grokked.snapshot().examples
    there = examples.labels | {"train": ~examples.labels["train"]}
    changed = Examples(examples.targets, examples.scored, examples.tokens, labels=there)
    again = ProbeAccuracy.measure(grokked.snapshot().on(changed), labels="c")
    np.testing.assert_array_equal(again.score[0], trained.score[trained.labels.index("c")])


def test_a_value_is_found_at_the_site_where_it_is_linear(snapshot):
    planted = snapshot.cache([POST])[POST][:, -1] @ direction()
    found = ProbeAccuracy.measure(snapshot, labels={"planted": planted}, penalties=PRECISE)
    embed, mid, post = found.score[0, :, 0]
    assert post == pytest.approx(1, abs=1e-6)
    assert mid < 0.99
    assert embed <= 0
    assert found.summary()["planted_site"] == "0.resid_post[-1]"


@pytest.mark.parametrize("method", ["ridge", "logistic"])
def test_a_planted_class_is_read_and_shuffled_it_is_not(triples, method):
    planted = triples.cache([POST])[POST][:, -1] @ direction()
    labels = {"planted": planted > planted.median()}
    found = ProbeAccuracy.measure(triples, labels=labels, sites=POST, method=method)
    examples = found.held_out[0]
    low, high = binom.interval(0.999, examples, 0.5)
    assert found.score[0, 0, 0] > 0.9
    assert low <= found.shuffled[0, 0, 0] * examples <= high


def test_a_constant_activation_is_read_at_the_baseline(snapshot):
    found = ProbeAccuracy.measure(snapshot, sites=EMBED)
    np.testing.assert_array_equal(found.score[:, 0], found.baseline)


def test_a_token_is_read_at_its_own_position_only(snapshot):
    found = ProbeAccuracy.measure(snapshot, sites=[EMBED], position="all", group="b")
    assert found.labels == ("a",)
    assert found.score[0, 0, 0] == 1
    np.testing.assert_array_equal(found.score[0, 0, 1:], found.baseline[0, 1:])


def test_several_positions_are_read_in_the_order_they_are_named(snapshot):
    every = ProbeAccuracy.measure(snapshot, position="all")
    some = ProbeAccuracy.measure(snapshot, position=[-1, 0])
    assert some.positions == (-1, 0)
    np.testing.assert_array_equal(some.score, every.score[..., [2, 0]])


def test_a_label_with_a_value_a_position_is_read_at_each():
    tokens = torch.cartesian_prod(*(torch.arange(5),) * 3)
    snapshot = Snapshot.of(random_model(), tokens_as_examples(tokens))
    found = ProbeAccuracy.measure(
        snapshot, labels={"token": tokens}, sites=EMBED, position="all", penalties=PRECISE
    )
    np.testing.assert_array_equal(found.score, 1)


def test_negative_positions_count_from_each_examples_end(padded):
    last = padded.tokens[torch.arange(49), padded.lengths - 1]
    found = ProbeAccuracy.measure(
        Snapshot.of(random_model(), padded), labels={"last": last == 7}, sites=EMBED
    )
    assert found.score[0, 0, 0] == 1


def test_a_position_that_few_examples_reach_is_unknown(padded):
    lengths = torch.full((49,), 2)
    lengths[0] = 3
    scored = torch.arange(3) == lengths[:, None] - 1
    examples = replace(padded, scored=scored, lengths=lengths)
    found = ProbeAccuracy.measure(Snapshot.of(random_model(), examples), position="all")
    assert np.isnan(found.score[:, :, 2]).all()
    assert not np.isnan(found.score[:, :, :2]).any()


def test_held_out_groups_are_counted(snapshot):
    assert ProbeAccuracy.measure(snapshot, labels="b", group="a").held_out == (14, 2)


def test_the_group_itself_is_left_out_with_the_reason(snapshot):
    found = ProbeAccuracy.measure(snapshot, group="a")
    assert found.labels == ("b",)
    assert "of its 7 classes have no example" in found.left_out["a"]


def test_a_constant_label_is_left_out(snapshot):
    examples = snapshot.examples
    labels = examples.labels | {"same": torch.ones(49, dtype=torch.long)}
    with_same = Examples(examples.targets, examples.scored, examples.tokens, labels=labels)
    found = ProbeAccuracy.measure(snapshot.on(with_same))
    assert found.left_out == {"same": "it is constant"}


def test_words_are_classes(snapshot):
    names = np.array(["even", "odd"])[snapshot.examples.label("a") % 2]
    found = ProbeAccuracy.measure(snapshot, labels={"parity": names, "a": names == "odd"})
    np.testing.assert_array_equal(found.score[0], found.score[1])


def test_edits_are_seen():
    model = random_model(SIZES)
    snapshot = Snapshot.of(model, tokens_as_examples(PAIRS))
    silent = snapshot.edited(with_weights({"embed.W_E": torch.zeros(8, 8)}))
    found = ProbeAccuracy.measure(silent, labels="a", sites=POST)
    np.testing.assert_array_equal(found.score[:, 0], found.baseline)


def test_without_a_reference_only_step_0_is_its_own_untrained_model(grokked, untrained):
    np.testing.assert_array_equal(untrained.untrained, untrained.score)
    assert np.isnan(ProbeAccuracy.measure(grokked.snapshot(), labels="c").untrained).all()


def test_a_bare_model_is_no_untrained_control_of_itself(grokked):
    snapshot = Snapshot.of(grokked.model(), grokked.snapshot().examples)
    found = ProbeAccuracy.measure(snapshot, labels="c", sites=POST)
    assert np.isnan(found.untrained).all()
    bars = found.plot()
    assert isinstance(bars, Figure)
    assert "untrained model" not in {trace["name"] for trace in as_data(bars)["data"]}


def test_a_frame_has_a_row_a_label_site_and_position(snapshot):
    frame = ProbeAccuracy.measure(snapshot, position="all").to_frame()
    assert len(frame) == 2 * 3 * 3
    assert frame.set_index(["label", "site", "position"]).index.is_unique


def test_without_a_residual_stream_neurons_are_probed_where_they_answer():
    model = build(MLPConfig(d_model=8, d_mlp=16), SIZES, seed=0, dtype="float64")
    snapshot = Snapshot.of(model, tokens_as_examples(PAIRS))
    post = "blocks.0.mlp.hook_post"
    planted = snapshot.cache([post])[post][:, 0] @ torch.arange(16).double()
    found = ProbeAccuracy.measure(snapshot, labels={"planted": planted}, penalties=PRECISE)
    assert found.sites == (post, EMBED)
    assert found.score[0, 0, 0] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("columns", "last"), [([0, 2], -2), ([1, 3], -1)])
def test_the_last_scored_position_is_read_unless_told_otherwise(columns, last):
    scored = torch.zeros(3, 4, dtype=torch.bool)
    scored[:, columns] = True
    examples = Examples(torch.zeros(3, 4), scored, torch.zeros(3, 4, dtype=torch.long))
    positions, index = places(examples, None)
    assert positions == (last,)
    assert (index == 4 + last).all()
