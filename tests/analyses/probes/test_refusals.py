"""What `ProbeAccuracy` refuses, with the remedy."""

from typing import Any

import numpy as np
import pytest
import torch

from analyses import ProbeAccuracy
from analyses.probes.inputs import label_values, places
from hooks import Edit, Examples

MID = "blocks.0.hook_resid_mid"
PAIRS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))


def test_a_reference_with_other_options_is_refused(snapshot):
    other = ProbeAccuracy.measure(snapshot, labels="a")
    options: tuple[dict[str, Any], ...] = (
        {"labels": "b"},
        {"labels": "a", "seed": 1},
        {"labels": "a", "penalties": (1.0,)},
    )
    for changed in options:
        with pytest.raises(ValueError, match="on the same examples with the same options"):
            ProbeAccuracy.measure(snapshot, reference=other, **changed)


def test_a_reference_on_other_examples_is_refused(snapshot):
    other = ProbeAccuracy.measure(snapshot.on(snapshot.examples.drawn(40, 0)), labels="a")
    with pytest.raises(ValueError, match="on the same examples with the same options"):
        ProbeAccuracy.measure(
            snapshot.on(snapshot.examples.drawn(40, 1)), labels="a", reference=other
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "depth"}, "no 'depth'; this task provides: a, b"),
        ({"group": "depth"}, "no 'depth'; this task provides: a, b"),
        ({"sites": ["blocks.0.hook_resid_pots"]}, "did you mean blocks.0.hook_resid_post"),
        ({"sites": ["blocks.0.attn.hook_result"]}, "does not fire"),
        ({"sites": ["blocks.0.attn.hook_pattern"]}, "a probe reads"),
        ({"sites": []}, "sites: name one hook point at least"),
        ({"labels": {"x": np.arange(10)}}, r"label 'x' has shape \[10\]; .* 49 examples"),
        ({"labels": {"x": np.full(49, np.nan)}}, "label 'x': its values hold NaN"),
        ({"labels": {"x": np.arange(49)}}, "of its 49 classes have no example"),
        ({"labels": {"x": np.zeros(49, int)}}, "label 'x': it is constant"),
        ({"labels": {"x": np.linspace(0, 1, 49)}, "method": "logistic"}, "use method='ridge'"),
        ({"labels": []}, "none to probe"),
        ({"position": 3}, "position 3: no example has it; the longest has 3 positions"),
        ({"position": [0, -4]}, "position -4: no example has it"),
        ({"position": []}, r"position = \[\]: give a number, a list of numbers, or 'all'"),
        ({"penalties": (-1.0,)}, "each above 0"),
        ({"method": "lasso"}, "there are ridge, logistic, adam"),
    ],
)
def test_what_does_not_fit_is_refused(snapshot, options, message):
    with pytest.raises(ValueError, match=message):
        ProbeAccuracy.measure(snapshot, **options)


@pytest.mark.parametrize("position", ["last", 1.5, [0, "all"], [None]])
def test_what_is_no_position_is_refused(snapshot, position):
    with pytest.raises(ValueError, match=r"position = .*: give a number, a list of numbers, or 'a"):
        places(snapshot.examples, position)


@pytest.mark.parametrize("array", [np.arange(49), PAIRS[:, 0], np.array(["even"] * 49), [1, 2]])
def test_an_array_without_a_name_is_refused_with_the_remedy(snapshot, array):
    with pytest.raises(ValueError, match=r'labels: an array needs a name; give {"name": array}'):
        label_values(snapshot.examples, array)


def test_groups_with_a_value_a_position_are_refused(snapshot):
    examples = snapshot.examples
    labels = {"token": PAIRS}
    there = Examples(examples.targets, examples.scored, examples.tokens, labels=labels)
    with pytest.raises(ValueError, match="a value a position; groups need one an example"):
        ProbeAccuracy.measure(snapshot.on(there), labels={"a": PAIRS[:, 0]}, group="token")


def test_examples_without_labels_are_refused(snapshot):
    examples = snapshot.examples
    bare = Examples(examples.targets, examples.scored, examples.tokens)
    with pytest.raises(ValueError, match="ProbeAccuracy needs labels of one value an example"):
        ProbeAccuracy.measure(snapshot.on(bare))


def test_activations_that_are_not_finite_are_refused(snapshot):
    broken = snapshot.edited(Edit(hooks={MID: lambda activation, hook: activation * torch.nan}))
    with pytest.raises(ValueError, match=f"{MID} hold NaN or infinity: the model"):
        ProbeAccuracy.measure(broken, labels="a")
