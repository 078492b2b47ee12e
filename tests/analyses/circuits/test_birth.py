import math
from dataclasses import replace

import numpy as np
import pytest

import interp
from analyses import CircuitBirth
from analyses.circuits.birth import pairs_by_part


@pytest.fixture(scope="module")
def fixture():
    return interp.load("fixtures/modular-addition")


@pytest.fixture(scope="module")
def result(fixture):
    return CircuitBirth.measure(fixture)


def born(result, part, kind):
    chosen = np.array(result.kinds) == kind
    return result.born[result.parts.index(part)][chosen]


def test_the_fixture_is_born_as_in_the_specification(result):
    assert result.parts == ("train", "test")
    # Pairs are drawn otherwise than there: an edge may pass half one kept step earlier or later.
    ranges = {
        ("train", "0.mlp->logits"): (300, 300),
        ("train", "0.head->0.mlp"): (75, 500),
        ("train", "embed->0.head.v"): (75, 500),
        ("test", "0.mlp->logits"): (400, 500),
        ("test", "0.head->0.mlp"): (400, 500),
        ("test", "embed->0.head.v"): (300, 500),
        ("test", "embed->0.head.k"): (300, 700),
    }
    for (part, kind), (first, last) in ranges.items():
        steps = born(result, part, kind)
        assert first <= steps.min() <= steps.max() <= last, (part, kind)
    summary = result.summary()
    assert summary["median_born_train"] < summary["median_born_test"]
    assert summary["accurate_train"] < summary["accurate_test"]


def test_an_edge_without_an_effect_has_no_birth(result):
    assert np.isnan(born(result, "train", "embed->0.mlp")).all()
    assert (result.final[:, result.edges.index("embed->0.mlp")] == 0).all()


def steps_of(scores):
    """A result of one part whose only edge has these scores at steps 0, 1, ..."""
    count = len(scores)
    return CircuitBirth(
        metric="logit_difference",
        change="both",
        exact=True,
        steps=tuple(range(count)),
        parts=("test",),
        edges=("0.mlp->logits",),
        scores=np.array(scores, dtype=float)[None, :, None],
        spans=np.full((1, count), 10.0),
        span_errors=np.full((1, count), 1.0),
        accuracy=np.linspace(0, 1, count)[None],
    )


@pytest.mark.parametrize(
    ("scores", "step"),
    [
        ([0, -2, -4, -6, -8], 2),
        ([-8, -2, -4, -6, -8], 2),  # it must stay
        ([8, 8, 8, 0, -8], 4),  # with its sign
        ([-8, -8, -8, -8, -8], 0),
        ([0, 0, 0, 0, -0.1], math.nan),  # under a fiftieth of the span
    ],
)
def test_birth_is_the_step_from_which_on_half_is_there_for_good(scores, step):
    assert steps_of(scores).born[0, 0] == pytest.approx(step, nan_ok=True)


def test_nothing_is_born_without_a_span():
    result = replace(steps_of([0, -2, -4]), span_errors=np.full((1, 3), 5.0))
    assert np.isnan(result.born).all()
    assert math.isnan(float(result.summary()["median_born_test"]))
    assert "No edge is born" in str(result.plot())
    assert result.marks() == {}


def test_accuracy_must_stay_above_half():
    result = replace(steps_of([0, -2, -4, -8]), accuracy=np.array([[0.2, 0.6, 0.4, 0.9]]))
    assert result.accurate.tolist() == [3]


def test_parts_are_splits_that_the_task_has(fixture):
    parts = pairs_by_part(fixture, 20, "")
    assert [*parts] == ["train", "test"]
    for part, pairs in parts.items():
        for examples in (pairs.clean, pairs.corrupted):
            assert (examples.label("train") == (part == "train")).all()


def test_an_unknown_change_is_refused(fixture):
    with pytest.raises(ValueError, match="change 'c' is none of both, a, b, swap"):
        CircuitBirth.measure(fixture, change="c")
