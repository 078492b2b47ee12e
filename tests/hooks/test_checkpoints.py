from dataclasses import replace

import pandas as pd
import pytest
import torch
from scipy.stats import binom

from hooks import Checkpoints, GivenCheckpoints, ModularFacts, Pairs, Series
from hooks.models import parameters_of
from tests.planted import SIZES, random_model, tiny_config, tokens_as_examples

EXAMPLES = tokens_as_examples(torch.tensor([[1, 2, 7], [3, 5, 7], [6, 6, 7]]))
CHECKPOINTS = {step: parameters_of(random_model(seed=step)) for step in (0, 10, 20)}
SERIES = Checkpoints.of(random_model(), CHECKPOINTS, EXAMPLES)


def series_with(checkpoints, **facts) -> GivenCheckpoints:
    return GivenCheckpoints(
        steps=tuple(sorted(checkpoints)),
        config=tiny_config(),
        sizes=SIZES,
        parameters=lambda step: checkpoints[step],
        make_examples=lambda split, count, seed: EXAMPLES,
        **facts,
    )


def test_steps_ascend():
    backwards = dict(reversed(CHECKPOINTS.items()))
    assert Checkpoints.of(random_model(), backwards, EXAMPLES).steps == (0, 10, 20)


@pytest.mark.parametrize("name", ["W_E", "blocks.0.mlp.W_in", "neuron_in"])
def test_weights_have_the_steps_first(name):
    expected = torch.stack([snapshot.weights(name) for snapshot in SERIES.snapshots()])
    torch.testing.assert_close(SERIES.weights(name), expected)


def test_a_snapshot_holds_the_parameters_of_its_step():
    snapshot = SERIES.snapshot(10, EXAMPLES)
    assert torch.equal(snapshot.weights("W_U"), CHECKPOINTS[10]["unembed.W_U"])


def test_snapshots_do_not_share_a_live_model():
    assert SERIES.snapshot(10, EXAMPLES).live.model is not SERIES.snapshot(10, EXAMPLES).live.model


def test_snapshots_come_in_order_of_steps():
    assert [snapshot.step for snapshot in SERIES.snapshots()] == [0, 10, 20]


def test_snapshots_are_on_the_examples_given():
    few = EXAMPLES.head(1)
    assert next(SERIES.snapshots(few)).examples is few


def test_an_imported_series_gives_as_many_examples_as_asked_for():
    assert len(SERIES.examples(count=2)) == 2


PAIRS = tokens_as_examples(torch.cartesian_prod(torch.arange(7), torch.arange(7)))
DRAWING = Checkpoints.of(random_model(), CHECKPOINTS, PAIRS)


def numbers_of(examples):
    """Which of the 49 pairs they are."""
    return 7 * examples.label("a") + examples.label("b")


def test_fewer_examples_are_drawn_alike_from_all_of_them():
    drawn = [numbers_of(DRAWING.examples(count=20, seed=seed)) for seed in range(300)]
    times = torch.cat(drawn).bincount(minlength=49)
    low, high = binom.interval(1 - 1e-6, 300, 20 / 49)
    assert low <= times.min()
    assert times.max() <= high


def test_drawn_examples_keep_their_order_and_none_comes_twice():
    assert (numbers_of(DRAWING.examples(count=20)).diff() > 0).all()


def test_a_seed_decides_which_are_drawn():
    first, again, other = (numbers_of(DRAWING.examples(count=20, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_a_count_all_examples_are_given():
    assert DRAWING.examples() is PAIRS
    assert DRAWING.examples(count=50) is PAIRS


def test_everything_known_of_an_example_is_drawn_with_it():
    words = tuple((f"{a} + {b}",) for a in range(7) for b in range(7))
    trees = tuple((0, 1) if number % 3 else 0 for number in range(49))
    lengths = torch.tensor([2 if number % 3 else 1 for number in range(49)])
    scored = PAIRS.scored & (lengths == 2)[:, None]
    full = replace(PAIRS, words=words, trees=trees, lengths=lengths, scored=scored)
    drawn = Checkpoints.of(random_model(), CHECKPOINTS, full).examples(count=5)
    numbers = numbers_of(drawn).tolist()
    assert drawn.words == tuple(words[number] for number in numbers)
    assert drawn.trees == tuple(trees[number] for number in numbers)
    torch.testing.assert_close(drawn.lengths, lengths[numbers])
    assert torch.equal(drawn.targets, PAIRS.targets[numbers])


def test_facts_come_from_the_examples():
    assert SERIES.facts(ModularFacts).p == 7


def test_saved_scalars_are_read_by_the_analysis_name():
    frame = pd.DataFrame({"step": [0], "norm": [1.0]})
    series = series_with(CHECKPOINTS, saved_scalars={"WeightNorms": frame}.__getitem__)
    assert series.scalars("WeightNorms") is frame


def test_scalars_that_were_not_saved_are_refused_with_the_command():
    with pytest.raises(ValueError, match="no saved results of WeightNorms: run `interp analyze`"):
        SERIES.scalars("WeightNorms")


def test_metrics_that_were_not_recorded_are_refused():
    with pytest.raises(ValueError, match="these checkpoints have no metrics"):
        _ = SERIES.metrics


def test_a_step_that_was_not_kept_is_refused_with_those_that_were():
    with pytest.raises(ValueError, match="step 15 was not kept; there are 0, 10, 20"):
        SERIES.snapshot(15, EXAMPLES)


def test_a_snapshot_of_other_shapes_is_refused_with_its_step():
    other = parameters_of(random_model(d_mlp=4))
    series = series_with(CHECKPOINTS | {20: other})
    with pytest.raises(ValueError, match=r"checkpoint of step 20: parameter blocks\.0\.mlp\.W_in"):
        series.snapshot(20, EXAMPLES)


def test_weights_of_a_step_of_other_shapes_are_refused_with_its_step():
    series = series_with(CHECKPOINTS | {20: parameters_of(random_model(d_mlp=4))})
    with pytest.raises(ValueError, match=r"step 20: parameter blocks\.0\.mlp\.W_in has shape"):
        series.weights("neuron_in")


def test_weights_of_a_step_that_lacks_them_are_refused_with_its_step():
    series = series_with(CHECKPOINTS | {20: {"embed.W_E": torch.zeros(8, 8)}})
    with pytest.raises(ValueError, match=r"step 20: parameter unembed\.W_U is missing"):
        series.weights("W_U")


def test_weights_of_a_series_without_steps_are_refused():
    with pytest.raises(ValueError, match="there are no steps"):
        series_with({}).weights("W_E")


def test_a_snapshot_is_of_the_last_step_by_default():
    assert SERIES.snapshot().step == 20


def test_a_snapshot_takes_as_many_examples_as_asked_for():
    assert len(SERIES.snapshot(0, count=2).examples) == 2
    assert len(SERIES.snapshot(0, EXAMPLES, count=2).examples) == 2


def test_a_step_that_was_not_kept_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"step 19 was not kept; .*; the nearest is 20"):
        SERIES.snapshot(19)


def test_other_peoples_checkpoints_may_come_with_metrics():
    frame = pd.DataFrame({"step": [0], "test.loss": [1.0]})
    assert Checkpoints.of(random_model(), CHECKPOINTS, EXAMPLES, metrics=frame).metrics is frame


def test_metrics_are_read_once():
    times = []
    series = series_with(
        CHECKPOINTS, recorded=lambda: times.append(1) or pd.DataFrame({"step": [0]})
    )
    assert series.has_metrics
    assert series.series().metrics["step"].tolist() == [0]
    assert len(times) == 1


def test_checkpoints_show_how_many_steps_they_have():
    assert repr(SERIES) == "GivenCheckpoints(3 steps, 0 to 20)"
    assert repr(series_with({5: {}})) == "GivenCheckpoints(step 5)"
    assert repr(series_with({})) == "GivenCheckpoints(no steps)"


def test_series_is_another_name_of_checkpoints():
    assert Series is Checkpoints


def own_pairs() -> Pairs:
    return Pairs.of(EXAMPLES, EXAMPLES.at(torch.tensor([1, 2, 0])), change="turned")


def test_given_pairs_are_those_of_the_checkpoints():
    series = Checkpoints.of(random_model(), CHECKPOINTS, EXAMPLES, pairs=own_pairs())
    assert series.changes == {"turned": False}
    drawn = series.input_pairs(count=2, change="turned")
    assert len(drawn) == 2
    whole = series.series().input_pairs()
    assert torch.equal(whole.corrupted.model_inputs, own_pairs().corrupted.model_inputs)
    with pytest.raises(ValueError, match="change 'b': the pairs here have 'turned' changed"):
        series.input_pairs(change="b")
    with pytest.raises(ValueError, match="split 'test': the pairs that were given are of no split"):
        series.input_pairs("test")


def test_without_pairs_it_says_how_to_make_them():
    assert SERIES.changes == {}
    for series in (SERIES, series_with(CHECKPOINTS)):
        with pytest.raises(ValueError, match=r"by Pairs.of\(clean, corrupted\)"):
            series.input_pairs()
