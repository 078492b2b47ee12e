import math

import torch

from analyses.statistics import SIZE_FLOOR, is_rounding

EPS = torch.finfo(torch.float32).eps


def test_rounding_is_told_by_the_largest_power():
    largest = torch.tensor([9.0, 1.0, 1.0, 1.0])
    varying = torch.tensor([0.0, 9 * EPS**2, 9 * (100 * EPS) ** 2, math.nan])
    assert is_rounding(varying, largest).tolist() == [True, True, False, False]


def test_where_all_is_0_all_is_rounding():
    assert is_rounding(torch.zeros(2), torch.zeros(2)).tolist() == [True, True]


def test_the_floor_is_some_units_in_the_last_place():
    assert EPS < SIZE_FLOOR < 1e-5
