"""`run.result` gives a saved result that holds, or says in a line why there is none."""

import pytest

from analyses import FourierSpectrum, GrokkingPhases
from interp.measure.analyze import analyze
from interp.runs.run import Run


def test_the_result_of_the_last_step_is_read_by_default(analysed):
    saved = analysed.result(FourierSpectrum)
    measured = FourierSpectrum.measure(analysed.snapshot())
    assert saved.summary() == pytest.approx(measured.summary(), nan_ok=True)


def test_a_result_is_read_by_the_name_of_its_class_and_its_step(analysed):
    saved = analysed.result("FourierSpectrum", 10)
    measured = FourierSpectrum.measure(analysed.snapshot(10))
    assert saved.summary() == pytest.approx(measured.summary(), nan_ok=True)


def test_a_result_of_the_whole_run_is_read_without_a_step(analysed):
    assert isinstance(analysed.result(GrokkingPhases), GrokkingPhases)


def test_a_result_is_read_by_the_options_it_was_measured_with(analysed):
    assert analysed.result(FourierSpectrum, share=0.9)


def test_a_result_that_was_never_saved_is_refused_with_the_command(folder):
    wanted = r"no saved result of FourierSpectrum; run `interp analyze \S+`\Z"
    with pytest.raises(ValueError, match=wanted):
        Run(folder).result(FourierSpectrum)


def test_other_options_than_were_measured_are_refused_with_those_there_are(analysed):
    with pytest.raises(ValueError, match=r"like this; run .*; there are: split all, options \{\}"):
        analysed.result(FourierSpectrum, share=0.31)


def test_a_step_without_a_result_is_refused_with_those_there_are(analysed):
    wanted = "FourierSpectrum at step 12; there are 0, 10, 20, 30, 40; the nearest is 10"
    with pytest.raises(ValueError, match=wanted):
        analysed.result(FourierSpectrum, 12)


def test_a_step_of_a_whole_run_is_refused(analysed):
    with pytest.raises(ValueError, match="GrokkingPhases describes a whole run, which has no ste"):
        analysed.result(GrokkingPhases, 10)


@pytest.mark.parametrize("name", ["SeedSpread", "FourierSpectra"])
def test_what_a_run_has_no_results_of_is_refused(analysed, name):
    with pytest.raises(ValueError, match=r"whole sweep, and is|did you mean FourierSpectrum"):
        analysed.result(name)


def test_a_result_of_another_checkpoint_is_refused(analysed_folder):
    checkpoints = analysed_folder / "checkpoints"
    (checkpoints / "40.safetensors").write_bytes((checkpoints / "30.safetensors").read_bytes())
    with pytest.raises(ValueError, match="FourierSpectrum at step 40: of another checkpoint"):
        Run(analysed_folder).result(FourierSpectrum)


def test_of_results_with_several_options_one_must_be_named(analysed_folder):
    place = next((analysed_folder / "results" / "FourierSpectrum").iterdir())
    other = place.with_name("all-01234567")
    other.mkdir()
    for file in place.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="several results of FourierSpectrum, give options of"):
        Run(analysed_folder).result(FourierSpectrum)


def test_of_results_with_several_options_those_of_the_experiment_come_first(analysed_folder):
    experiment = analysed_folder / "experiment.toml"
    experiment.write_text(experiment.read_text() + "\n[analyses.FourierSpectrum]\nshare = 0.5\n")
    analyze(Run(analysed_folder), ["FourierSpectrum"])
    run = Run(analysed_folder)
    assert run.result(FourierSpectrum).share == 0.5
    assert run.result(FourierSpectrum, share=0.9).share == 0.9


def test_a_result_is_no_class_of_results(analysed):
    result = analysed.result(FourierSpectrum)
    with pytest.raises(TypeError, match="takes a class of results or its name; got FourierSpec"):
        analysed.result(result)


def test_scalars_of_an_unknown_analysis_are_refused_with_the_near_name(analysed):
    with pytest.raises(ValueError, match=r"no analysis 'FourierSpectr'.*did you mean FourierSpec"):
        analysed.scalars("FourierSpectr")
