import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from analyses.statistics import (
    MEASURES,
    effective_count,
    gini,
    hoyer,
    l1_over_l2,
    participation_ratio,
)

vectors = st.lists(st.floats(0.1, 10), min_size=2, max_size=20)


@pytest.mark.parametrize(
    ("measure", "equal", "single"),
    [(gini, 0, 0.75), (hoyer, 0, 1), (l1_over_l2, 2, 1), (participation_ratio, 4, 1),
     (effective_count, 4, 1)],
)  # fmt: skip
def test_the_ends_are_known(measure, equal, single):
    assert measure(torch.ones(4).double()).item() == pytest.approx(equal, abs=1e-12)
    assert measure(torch.tensor([0.0, 0, 5, 0])).item() == pytest.approx(single)


@pytest.mark.parametrize("measure", MEASURES.values())
@given(values=vectors, scale=st.floats(0.1, 10))
def test_scale_and_sign_change_nothing(measure, values, scale):
    values = torch.tensor(values, dtype=torch.float64)
    assert_close(measure(-scale * values), measure(values))


@pytest.mark.parametrize("measure", MEASURES.values())
@given(values=vectors)
def test_order_changes_nothing(measure, values):
    values = torch.tensor(values, dtype=torch.float64)
    assert_close(measure(values.flip(0)), measure(values))


def test_gini_is_the_mean_difference_over_twice_the_mean():
    values = torch.rand(9, generator=torch.Generator().manual_seed(0)).double()
    differences = (values[:, None] - values).abs().mean()
    assert_close(gini(values), differences / (2 * values.mean()))


@pytest.mark.parametrize("measure", MEASURES.values())
def test_zeros_have_no_sparsity(measure):
    assert math.isnan(measure(torch.zeros(3)).item())


@pytest.mark.parametrize("measure", MEASURES.values())
def test_a_series_is_measured_step_by_step(measure):
    series = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0))
    each = torch.stack([measure(values) for values in series.flatten(0, 1)])
    assert_close(measure(series), each.reshape(2, 3))
