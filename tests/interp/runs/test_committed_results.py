"""Every result that is committed is read with today's classes, and belongs to its run."""

from pathlib import Path

import pytest

from analyses import ANALYSES
from interp.runs.current import current_results
from interp.runs.results import read_result
from interp.runs.run import Run

FIXTURES = Path(__file__).parents[3] / "fixtures"
RUNS = sorted(file.parent for file in FIXTURES.glob("*/experiment.toml"))
RESULTS = sorted(FIXTURES.glob("*/results/*/*/*.npz"))


def test_there_are_committed_results():
    assert len(RESULTS) > 100


@pytest.mark.parametrize("name", sorted({file.parts[-3] for file in RESULTS}))
def test_every_committed_result_is_read_and_drawn_by_its_class(name):
    for file in RESULTS:
        if file.parts[-3] == name:
            result = read_result(file, ANALYSES[name])[0]
            assert result.summary()
            assert len(result.to_frame())
            assert result.plot() is not None


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_committed_result_is_of_the_checkpoint_and_experiment_beside_it(path):
    held, passed_over = current_results(Run(path))
    assert passed_over == ""
    files = [file for each in held for file in each.path.glob("*.npz")]
    assert len(files) == len([file for file in RESULTS if path in file.parents])
