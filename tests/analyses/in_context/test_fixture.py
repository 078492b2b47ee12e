"""The stored run of the preset `in-context-linear`, measured on fresh prompts."""

from pathlib import Path

import pytest

import interp
from analyses import InContextCurve

BOUND = 0.1
PLACES = (1, 2, 3, 8)  # fewer examples than d = 4, and twice as many


@pytest.fixture(scope="module")
def result():
    run = interp.load(Path(__file__).parents[3] / "fixtures" / "in-context-linear")
    return InContextCurve.measure(run.snapshot())


@pytest.mark.parametrize("k", PLACES)
def test_the_trained_model_is_close_to_least_squares(result, k):
    assert abs(result.error()[k] - result.error("least_squares")[k]) < BOUND


@pytest.mark.parametrize("k", PLACES)
@pytest.mark.parametrize("name", ["zero", "averaging"])
def test_the_zero_predictor_and_averaging_are_not(result, name, k):
    assert abs(result.error(name)[k] - result.error("least_squares")[k]) > BOUND


def test_the_run_takes_less_than_two_megabytes():
    folder = Path(__file__).parents[3] / "fixtures" / "in-context-linear"
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 2e6
