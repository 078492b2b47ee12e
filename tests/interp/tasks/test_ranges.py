"""Sorted indices as text."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.tasks.modular_arithmetic import read_ranges, write_ranges


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        ([], ""),
        ([5], "5"),
        ([0, 1], "0-1"),
        ([0, 1, 2, 3, 7, 9, 10], "0-3 7 9-10"),
        ([9, 3, 3, 2], "2-3 9"),
    ],
)
def test_neighbours_are_one_range(indices, text):
    assert write_ranges(torch.tensor(indices, dtype=torch.long)) == text


@given(st.sets(st.integers(0, 60)))
def test_what_is_written_is_read_again(indices):
    text = write_ranges(torch.tensor(sorted(indices), dtype=torch.long))
    assert read_ranges(text, 61).tolist() == sorted(indices)


def test_indices_may_be_written_one_by_one():
    assert read_ranges(" 0 1  2\n5-5 ", 6).tolist() == [0, 1, 2, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 2 2", "'2' is out of order: name each index once, ascending"),
        ("0-4 3", "'3' is out of order"),
        ("7-3", "'7-3' is out of order"),
        ("0-9 10", "'10' reaches beyond the last index, 9"),
        ("0-999999999999", "'0-999999999999' reaches beyond the last index, 9"),
        ("-1", "'-1' is neither an index nor a range such as 3-7"),
        ("1.5", "'1.5' is neither"),
        ("0,1", "'0,1' is neither"),
        ("\u0663", "is neither"),
        ("9" * 5000, "^'9{40}' is neither"),
    ],
)
def test_what_names_no_indices_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_ranges(text, 10)
