"""`SweepFolder.result` gives a current result of the whole sweep, or says why there is none."""

import shutil

import pytest

from analyses import FourierSpectrum, OutcomeShares, SeedSpread
from interp.measure.sweep import analyze_sweep
from interp.sweeps.sweep import SweepFolder, find_sweep

TWO_SCALARS = {"SeedSpread": [{"scalar": "test.loss"}, {"scalar": "train.loss"}]}


@pytest.fixture
def folder(analysed_sweep, tmp_path):
    """A copy of the analysed sweep, to be changed."""
    return find_sweep(shutil.copytree(analysed_sweep.path, tmp_path / "sweep"))


def with_analyses(folder, tables):
    """The same folder with options for results of the whole."""
    sweep = type(folder.sweep).model_validate(folder.sweep.model_dump() | {"analyses": tables})
    return SweepFolder(folder.path, sweep)


@pytest.mark.parametrize("analysis", [OutcomeShares, "OutcomeShares"])
def test_a_result_is_read_by_its_class_or_the_name_of_it(folder, analysis):
    assert isinstance(folder.result(analysis), OutcomeShares)


def test_a_result_is_read_by_its_options(folder):
    folder = with_analyses(folder, TWO_SCALARS)
    analyze_sweep(folder, ["SeedSpread"])
    assert folder.result(SeedSpread, scalar="train.loss").scalar == "train.loss"


def test_of_several_results_that_of_the_file_is_read_by_default(folder):
    analyze_sweep(with_analyses(folder, TWO_SCALARS), ["SeedSpread"])
    today = with_analyses(folder, {"SeedSpread": [{"scalar": "train.loss"}]})
    assert today.result(SeedSpread).scalar == "train.loss"


def test_several_results_without_options_are_refused_with_those_there_are(folder):
    folder = with_analyses(folder, TWO_SCALARS)
    analyze_sweep(folder, ["SeedSpread"])
    with pytest.raises(ValueError, match=r"give options of one: .*\{'scalar': 'train\.loss'\}"):
        folder.result(SeedSpread)


def test_a_result_that_was_never_saved_is_refused_with_the_command(folder):
    shutil.rmtree(folder.path / "results")
    wanted = r"no saved result of SeedSpread; run `interp analyze \S+sweep`\Z"
    with pytest.raises(ValueError, match=wanted):
        folder.result(SeedSpread)


def test_a_result_of_other_runs_is_refused_with_the_command(folder):
    shutil.rmtree(next(iter(folder.experiments())))
    wanted = r"OutcomeShares: of another number of runs, state of the runs\. Run `interp analyze"
    with pytest.raises(ValueError, match=wanted):
        folder.result(OutcomeShares)


def test_an_analysis_of_single_runs_is_refused_with_what_reads_it(folder):
    with pytest.raises(ValueError, match=r"FourierSpectrum describes a single run: interp\.load"):
        folder.result(FourierSpectrum)


def test_an_unknown_option_is_refused(folder):
    with pytest.raises(ValueError, match="no option 'share'; it takes: "):
        folder.result(SeedSpread, share=0.5)


def test_what_is_neither_a_class_nor_a_name_is_refused(folder):
    with pytest.raises(TypeError, match="takes a class of results or its name; got 3"):
        folder.result(3)
