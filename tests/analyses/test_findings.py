"""Sentences about results: shares in words, and how strong a value is beside its control."""

import numpy as np
import pytest

from analyses.findings import Finding, headlines, percent, strength_beside

SHARES = {
    0: "0 %",
    1: "100 %",
    0.5: "50 %",
    0.9: "90 %",
    0.99: "99 %",
    0.98765: "98.8 %",
    0.9997: "99.97 %",
    0.073: "7.3 %",
    0.0004: "0.04 %",
    1e-7: "under 0.001 %",
    1 - 1e-7: "over 99.999 %",
}


@pytest.mark.parametrize(("share", "text"), SHARES.items())
def test_shares_have_the_digits_that_tell_them_from_the_nearer_end(share, text):
    assert percent(share) == text


def test_a_value_is_found_where_it_lies_above_its_control_by_more_than_the_margin():
    assert strength_beside(0.9, 0.5, margin=0.3) == "found"
    assert strength_beside(0.9, 0.5, margin=0.5) == "null"
    assert strength_beside(1.0, 1.0) == "null"
    assert strength_beside(np.nan, 0.5) == strength_beside(0.9, np.nan) == "null"


def test_a_control_as_high_is_no_headline():
    found, missed = Finding("a"), Finding("b", "not found")
    assert headlines([Finding("c", "null"), found, missed]) == [found, missed]
