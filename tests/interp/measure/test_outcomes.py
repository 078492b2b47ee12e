"""What cannot be measured stops nothing else, and is told with analysis, step and hook point."""

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import ANALYSES, FourierSpectrum, PruningTrace, Result, WeightNorms
from interp.measure.analyze import analyze, trace
from interp.measure.outcomes import Measurement, Skipped, attempted, refuse_errors, summarised
from interp.runs.checkpoint_files import Checkpoint, pack
from interp.runs.current import steps_in_words
from interp.runs.results import saved
from interp.runs.run import Run

WHY = "hold NaN or infinity, the model has diverged"


def spoil(folder, step, name, value=torch.nan):
    """Sets a parameter of a checkpoint to a value."""
    file = folder / "checkpoints" / f"{step}.safetensors"
    parameters = {key: each.clone() for key, each in Checkpoint(file).items()}
    parameters[name][:] = value
    file.write_bytes(pack(parameters))


def reasons(outcomes):
    return {each.name: each.reason for each in outcomes}


def test_probes_of_a_diverged_step_are_a_line_that_names_step_and_hook(folder):
    spoil(folder, 20, "blocks.0.mlp.W_in")
    (found,) = analyze(Run(folder), ["ProbeAccuracy"])
    told = f"not at step 20: activations at blocks.0.mlp.hook_pre {WHY}"
    assert found.reason == f"4 measured, 0 kept; {told}"


def test_every_analysis_that_applies_says_so_for_itself(analysed_folder):
    spoil(analysed_folder, 20, "embed.W_E")
    told = reasons(analyze(Run(analysed_folder)))
    passed_over = ("needs ", "unasked, needs ")
    applying = {name: each for name, each in told.items() if not each.startswith(passed_over)}
    expected = {
        name: f"not at step 20: activations at hook_embed {WHY}"
        if issubclass(ANALYSES[name], Result)
        else "without step 20: weights are NaN or infinite"
        for name in applying
    }
    assert {name: each.partition("; ")[2] for name, each in applying.items()} == expected
    assert {"ProbeAccuracy", "PruningTrace", "GrokkingPhases"} <= applying.keys()


def test_other_steps_are_measured_as_they_would_be(folder, run):
    spoil(folder, 20, "embed.W_E")
    analyze(Run(folder), ["WeightNorms"])
    whole = trace(run, WeightNorms).query("step != 20").reset_index(drop=True)
    norms = saved(Run(folder))[0]
    rows = [{"step": step} | norms.load(step).summary() for step in norms.steps]
    pd.testing.assert_frame_equal(pd.DataFrame(rows), whole)


def test_other_analyses_are_measured_where_one_meets_what_overflows(folder):
    spoil(folder, 40, "blocks.0.attn.W_V", 1e30)
    spoil(folder, 40, "blocks.0.attn.W_O", 1e30)
    told = reasons(analyze(Run(folder), ["GrokkingPhases", "FourierSpectrum", "FourierCircuit"]))
    assert told["GrokkingPhases"] == ""
    assert told["FourierSpectrum"] == (
        f"4 measured, 0 kept; not at step 40: activations at blocks.0.hook_attn_out {WHY}"
    )


def test_a_diverged_reference_leaves_nothing_to_measure_against(folder):
    spoil(folder, 40, "unembed.W_U")
    found = {each.name: each for each in analyze(Run(folder), ["FourierCircuit", "WeightNorms"])}
    assert found["FourierCircuit"].measured == 0
    assert found["FourierCircuit"].reason == (
        "0 measured, 0 kept; not at step 40, and at no step measured against it: activations at "
        f"unembed.hook_out {WHY}"
    )
    assert found["WeightNorms"].measured == 4


def test_what_was_measured_before_is_kept_and_the_line_comes_again(folder):
    spoil(folder, 20, "embed.W_E")
    first, again = (analyze(Run(folder), ["WeightNorms"])[0] for _ in range(2))
    assert (first.measured, again.measured, again.kept) == (4, 0, 4)
    assert again.reason.partition("; ")[2] == first.reason.partition("; ")[2]


def test_a_trace_of_the_whole_run_leaves_out_the_step(folder):
    spoil(folder, 20, "embed.W_E")
    told = reasons(analyze(Run(folder), ["PruningTrace"]))
    assert told == {
        "PruningTrace": "1 measured, 0 kept; without step 20: weights are NaN or infinite"
    }
    result = saved(Run(folder))[0].load()
    assert isinstance(result, PruningTrace)
    assert result.steps.tolist() == [0, 10, 30, 40]
    assert np.isfinite(result.paths).all()


def test_a_run_of_which_no_step_is_finite_is_told(folder):
    for step in Run(folder).steps:
        spoil(folder, step, "embed.W_E")
    (found,) = analyze(Run(folder), ["PruningTrace"])
    assert "no step is finite" in found.reason
    assert found.measured == 0


def refusing(cls, step, error):
    """A class' own `measure`, which raises at one step."""
    measure = cls.measure

    def refuse_one(snapshot, **options):
        if snapshot.step == step:
            raise error
        return measure(snapshot, **options)

    return refuse_one


def test_a_refusal_is_an_error_after_all_else_is_measured(folder, monkeypatch):
    refused = refusing(FourierSpectrum, 20, ValueError("it does not fit"))
    monkeypatch.setattr(FourierSpectrum, "measure", refused)
    message = "copy: FourierSpectrum at step 20: it does not fit; all else is measured"
    with pytest.raises(ValueError, match=message):
        analyze(Run(folder), ["FourierSpectrum", "WeightNorms", "PruningTrace"])
    done = [(each.name, len(each.steps)) for each in saved(Run(folder))]
    assert done == [("FourierSpectrum", 4), ("WeightNorms", 5), ("PruningTrace", 0)]


def test_an_options_value_that_fits_no_step_is_told_once(folder):
    text = (folder / "experiment.toml").read_text().replace("[analyses]", "")
    table = '\n[analyses.ProbeAccuracy]\nlabels = "depth"\n[analyses.PruningTrace]\nby = "tree"\n'
    (folder / "experiment.toml").write_text(text + table)
    with pytest.raises(
        ValueError, match=r"ProbeAccuracy at step 0: labels has no 'depth'.*by: no kind 'tree'"
    ):
        analyze(Run(folder), ["ProbeAccuracy", "PruningTrace", "WeightNorms"])
    assert "WeightNorms" in [each.name for each in saved(Run(folder))]


def test_a_mistake_in_an_analysis_is_named_and_stops_no_other(folder, monkeypatch):
    broken = refusing(FourierSpectrum, 20, TypeError("a mistake"))
    monkeypatch.setattr(FourierSpectrum, "measure", broken)
    with pytest.raises(ValueError, match="FourierSpectrum at step 20: TypeError: a mistake; all"):
        analyze(Run(folder), ["FourierSpectrum", "WeightNorms"])
    counts = {each.name: each.steps for each in saved(Run(folder))}
    assert counts == {"FourierSpectrum": (0, 10, 30, 40), "WeightNorms": (0, 10, 20, 30, 40)}


def test_a_mistake_in_a_summary_stops_no_other_analysis(folder, monkeypatch):
    def divides(result):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(FourierSpectrum, "summary", divides)
    with pytest.raises(ValueError, match="ZeroDivisionError: division by zero; all else"):
        analyze(Run(folder), ["FourierSpectrum", "WeightNorms"])
    assert [each.name for each in saved(Run(folder))] == ["WeightNorms"]


@pytest.fixture
def undefined(run):
    """A result with NaN among its scalars, as it may be where nothing has diverged."""
    found = PruningTrace.measure(run.series())
    assert np.isnan(found.summary()["t_accuracy"])
    return found


def test_scalars_that_are_nan_are_a_result_where_the_model_is_finite(undefined):
    assert attempted(lambda: undefined, lambda: "") is undefined


def test_scalars_that_are_nan_are_none_where_the_model_has_diverged(undefined):
    assert attempted(lambda: undefined, lambda: "it has") == Skipped("it has")


def test_any_error_is_explained_by_a_model_that_has_diverged():
    def fails():
        raise RuntimeError("linalg.eigh: did not converge")

    assert attempted(fails, lambda: "it has") == Skipped("it has")


def test_steps_missed_for_one_reason_are_told_together():
    measurements = [Measurement("A", step, skipped=Skipped("why")) for step in (30, 10)]
    measurements += [Measurement("A", 20), Measurement("B", 10, skipped=Skipped("other"))]
    assert (
        summarised("A", "", measurements).reason == "1 measured, 0 kept; not at steps 10, 30: why"
    )


def test_errors_are_told_by_analysis():
    skipped = Skipped("why", is_error=True)
    measurements = [Measurement("A", 0, skipped=skipped), Measurement("B", None, skipped=skipped)]
    with pytest.raises(ValueError, match=r"^A at step 0: why; B: why; all else is measured$"):
        refuse_errors(measurements)
    refuse_errors([Measurement("A", 0, skipped=Skipped("it has diverged"))])


def test_many_steps_are_told_by_their_ends():
    assert steps_in_words([30, 10]) == "steps 10, 30"
    assert steps_in_words(range(0, 70, 10)) == "7 steps from 0 to 60"
