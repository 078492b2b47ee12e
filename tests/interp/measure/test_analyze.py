from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import EdgeCircuit, FourierCircuit, FourierSpectrum, GrokkingPhases, WeightNorms
from analyses import trace as traced
from interp.config import experiment as experiments
from interp.measure.analyze import analyze, trace
from interp.runs.checkpoint_files import pack
from interp.runs.current import run_analyses
from interp.runs.results import saved
from interp.runs.run import Run
from interp.training.loop import train
from tests.planted import tiny_config, tiny_experiment


def by_name(outcomes):
    return {each.name: each for each in outcomes}


def test_every_analysis_is_measured_at_every_step_and_kept(analysed_folder):
    outcomes = by_name(analyze(Run(analysed_folder)))
    assert set(outcomes) == set(run_analyses())
    assert sum(each.measured for each in outcomes.values()) == 0
    assert outcomes["FourierCircuit"].kept == len(Run(analysed_folder).steps)
    assert outcomes["GrokkingPhases"].kept == 1


def test_a_missing_result_alone_is_measured_again(folder):
    run = Run(folder)
    analyze(run, ["FourierSpectrum"])
    (saved(run)[0].path / "20.npz").unlink()
    outcome = analyze(run, ["FourierSpectrum"])[0]
    assert (outcome.measured, outcome.kept) == (1, len(run.steps) - 1)


def test_a_changed_checkpoint_is_measured_again(folder):
    run = Run(folder)
    analyze(run, ["FourierSpectrum"])
    run.checkpoint(20).write_bytes(pack(dict(run.parameters(10)), step=20))
    assert analyze(run, ["FourierSpectrum"])[0].measured == 1


def test_a_changed_reference_is_measured_against_again(folder):
    run = Run(folder)
    analyze(run, ["WeightNorms"])
    run.checkpoint(0).write_bytes(pack(dict(run.parameters(10)), step=0))
    assert analyze(run, ["WeightNorms"])[0].measured == len(run.steps)


def test_a_result_whose_bytes_are_damaged_is_measured_again(folder):
    run = Run(folder)
    analyze(run, ["FourierSpectrum"])
    file = saved(run)[0].path / "20.npz"
    whole = file.read_bytes()
    change_a_byte(file, place=whole.index(b"power.npy") + 40)  # among the array's own
    outcome = analyze(run, ["FourierSpectrum"])[0]
    assert (outcome.measured, outcome.kept) == (1, len(run.steps) - 1)
    assert file.read_bytes() == whole


def edit(folder, old, new):
    file = folder / "experiment.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


EDITS = [
    ('operation = "add"', 'operation = "subtract"'),
    ("train_fraction = 0.5", "train_fraction = 0.6"),
    ('act_fn = "relu"', 'act_fn = "gelu"'),
    ('attention_dir = "causal"', 'attention_dir = "bidirectional"'),
    ("data = 0", "data = 1"),
]


# Of each kind: of a step alone, beside the last step, of a whole run by metrics and by weights.
SOME = ["WeightNorms", "FourierSpectrum", "FourierCircuit", "GrokkingPhases", "PruningTrace"]


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_another_task_or_model_has_results_measured_again(analysed_folder, old, new):
    edit(analysed_folder, old, new)
    again = analyze(Run(analysed_folder), SOME)
    assert sum(each.measured for each in again) == 17
    assert sum(each.kept for each in again) == 0


def test_another_task_has_every_result_measured_again(analysed_folder):
    edit(analysed_folder, *EDITS[0])
    again = analyze(Run(analysed_folder))
    assert sum(each.measured for each in again) > 40
    assert sum(each.kept for each in again) == 0


def test_how_it_was_trained_and_a_default_that_is_left_out_change_no_result(folder):
    analyze(Run(folder), ["FourierSpectrum", "PruningTrace"])
    edit(folder, "lr = 0.01", "lr = 0.02")
    edit(folder, 'attention_dir = "causal"\n', "")
    assert sum(each.measured for each in analyze(Run(folder), ["FourierSpectrum"])) == 0
    assert sum(each.measured for each in analyze(Run(folder), ["PruningTrace"])) == 0


def test_a_checkpoint_under_another_step_has_the_series_measured_again(folder):
    analyze(Run(folder), ["PruningTrace"])
    file = Run(folder).checkpoint(20)
    file.with_name("25.safetensors").write_bytes(pack(dict(Run(folder).parameters(20)), step=25))
    file.unlink()
    assert analyze(Run(folder), ["PruningTrace"])[0].measured == 1


def test_key_frequencies_are_those_of_the_last_step(folder):
    run = Run(folder)
    analyze(run, ["FourierCircuit"])
    last = FourierCircuit.measure(run.snapshot()).keys
    assert {saved(run)[0].load(step).keys for step in run.steps} == {last}


def test_growth_is_since_the_first_step(folder):
    run = Run(folder)
    analyze(run, ["WeightNorms"])
    first = WeightNorms.measure(run.snapshot(0)).total()
    last = saved(run)[0].load()
    assert last.summary()["growth"] == pytest.approx(last.total() / first)


def test_an_analysis_that_does_not_apply_says_what_is_missing(tmp_path):
    experiment = tiny_experiment(steps=2)
    task = experiment.task.model_copy(update={"operation": "sum_of_squares"})
    run = train(experiment.model_copy(update={"task": task}), tmp_path / "run")
    outcomes = by_name(analyze(run, SOME))
    assert outcomes["FourierCircuit"].reason.startswith(
        "needs an operation that waves compute: set"
    )
    assert outcomes["WeightNorms"].measured == 2


def test_without_metrics_weights_are_measured_and_what_needs_metrics_says_so(folder):
    (folder / "metrics.jsonl").unlink()
    outcomes = by_name(analyze(Run(folder), SOME))
    assert outcomes["FourierSpectrum"].measured == len(Run(folder).steps)
    assert "metrics.jsonl has no rows" in outcomes["GrokkingPhases"].reason


def test_an_unknown_analysis_is_refused_with_those_there_are(folder):
    with pytest.raises(ValueError, match="no analysis 'Tree'; there are GrokkingPhases"):
        analyze(Run(folder), ["Tree"])


def test_a_misspelt_analysis_is_refused_with_the_nearest(folder):
    with pytest.raises(ValueError, match=r"did you mean FourierSpectrum( or \w+)*\?"):
        analyze(Run(folder), ["FourierSpectrm"])


def test_options_of_the_experiment_are_used_and_kept_apart(folder):
    run = Run(folder)
    text = (folder / "experiment.toml").read_text().replace("[analyses]", "")
    (folder / "experiment.toml").write_text(text + "\n[analyses.FourierSpectrum]\nshare = 0.5\n")
    analyze(run, ["FourierSpectrum"])
    assert saved(Run(folder))[0].options == {"share": 0.5}
    assert saved(Run(folder))[0].load().share == 0.5


def test_an_unknown_option_is_refused_with_those_there_are(run):
    with pytest.raises(ValueError, match="FourierSpectrum: no option 'shar'; it takes: share"):
        trace(run, FourierSpectrum, shar=0.5)


def change_a_byte(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_named_and_skipped(folder):
    change_a_byte(folder / "checkpoints" / "20.safetensors")
    with pytest.warns(UserWarning, match=r"step 20 is skipped: .*/20\.safetensors is damaged"):
        outcomes = by_name(analyze(Run(folder), SOME))
    assert outcomes["FourierCircuit"].measured == 4
    assert saved(Run(folder), ["FourierCircuit"])[0].steps == (0, 10, 30, 40)


def test_checkpoints_under_each_others_names_are_skipped(folder):
    run = Run(folder)
    run.checkpoint(10).write_bytes(run.checkpoint(20).read_bytes())
    with pytest.warns(UserWarning, match=r"step 10 is skipped: .* holds the parameters of step 20"):
        analyze(run, ["FourierSpectrum"])
    assert saved(run)[0].steps == (0, 20, 30, 40)


def test_damaged_metrics_are_an_error_after_all_else_is_measured(folder):
    (folder / "metrics.jsonl").write_text("garbage\n")
    wanted = (
        r"GrokkingPhases: .*metrics\.jsonl, line 1 is not a row of metrics.*all else is measured"
    )
    with pytest.raises(ValueError, match=wanted):
        analyze(Run(folder), ["GrokkingPhases", "FourierSpectrum"])
    assert [each.name for each in saved(Run(folder))] == ["FourierSpectrum"]
    assert saved(Run(folder))[0].steps == (0, 10, 20, 30, 40)


def test_metrics_that_are_not_utf_8_stop_no_analysis_that_reads_none(folder):
    (folder / "metrics.jsonl").write_bytes(b"\xff\n")
    assert analyze(Run(folder), ["FourierSpectrum"])[0].measured == 5


def test_other_steps_are_measured_as_they_would_be_without_the_damage(folder, run):
    change_a_byte(folder / "checkpoints" / "20.safetensors")
    with pytest.warns(UserWarning, match="step 20 is skipped"):
        analyze(Run(folder), ["WeightNorms"])
    whole = trace(run, WeightNorms).query("step != 20").reset_index(drop=True)
    norms = saved(Run(folder))[0]
    rows = [{"step": step} | norms.load(step).summary() for step in norms.steps]
    pd.testing.assert_frame_equal(pd.DataFrame(rows), whole)


def test_what_was_saved_before_the_damage_is_kept(folder):
    analyze(Run(folder), ["FourierSpectrum"])
    (folder / "checkpoints" / "20.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="step 20 is skipped"):
        outcome = analyze(Run(folder), ["FourierSpectrum"])[0]
    assert (outcome.measured, outcome.kept) == (0, 4)
    assert saved(Run(folder))[0].steps == (0, 10, 20, 30, 40)


def test_a_series_is_measured_again_when_a_damaged_checkpoint_is_put_back(folder):
    file = folder / "checkpoints" / "20.safetensors"
    content = file.read_bytes()
    change_a_byte(file)
    with pytest.warns(UserWarning, match="step 20 is skipped"):
        analyze(Run(folder), ["PruningTrace"])
    file.write_bytes(content)
    assert analyze(Run(folder), ["PruningTrace"])[0].measured == 1


@pytest.mark.parametrize(("step", "name"), [(0, "WeightNorms"), (40, "FourierCircuit")])
def test_a_damaged_reference_is_an_error_after_all_else_is_measured(folder, step, name):
    change_a_byte(folder / "checkpoints" / f"{step}.safetensors")
    message = rf"copy: the checkpoint of step {step} is damaged, and {name} measure every step"
    with (
        pytest.warns(UserWarning, match=f"step {step} is skipped"),
        pytest.raises(ValueError, match=message),
    ):
        analyze(Run(folder), ["FourierSpectrum", name])
    assert [(each.name, len(each.steps)) for each in saved(Run(folder))] == [("FourierSpectrum", 4)]


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(folder):
    for file in (folder / "checkpoints").iterdir():
        change_a_byte(file)
    with (
        pytest.warns(UserWarning, match="is skipped"),
        pytest.raises(ValueError, match="copy: every checkpoint is damaged"),
    ):
        analyze(Run(folder))


def test_an_error_of_a_series_names_the_run(folder, tmp_path):
    narrower = tiny_experiment(steps=20).model_copy(update={"model": tiny_config(d_mlp=5)})
    other = train(narrower, tmp_path / "other", device="cpu")
    other.checkpoint(20).replace(folder / "checkpoints" / "20.safetensors")
    with pytest.raises(ValueError, match=r"copy: checkpoint of step 20: .*of another experiment"):
        analyze(Run(folder), ["FourierSpectrum"])


def test_a_trace_from_saved_results_equals_one_measured_in_memory(folder, run):
    analyze(Run(folder), ["FourierCircuit"])
    pd.testing.assert_frame_equal(trace(Run(folder), FourierCircuit), trace(run, FourierCircuit))


def test_a_trace_writes_nothing(folder):
    before = sorted(folder.rglob("*"))
    trace(Run(folder), FourierCircuit)
    assert sorted(folder.rglob("*")) == before


def test_a_trace_takes_an_analysis_by_name(run):
    pd.testing.assert_frame_equal(trace(run, "WeightNorms"), trace(run, WeightNorms))


def test_a_result_of_a_whole_run_has_no_trace(run):
    with pytest.raises(ValueError, match="GrokkingPhases describes a whole run"):
        trace(run, GrokkingPhases)


def test_presets_are_read_with_every_default(monkeypatch):
    assert experiments.load_experiment("modular-addition").seeds.model == 0


def test_a_run_without_the_metrics_an_analysis_reads_says_which(folder):
    rows = (folder / "metrics.jsonl").read_text().replace("test.loss", "test.f1")
    (folder / "metrics.jsonl").write_text(rows)
    outcome = analyze(Run(folder), ["GrokkingPhases"])[0]
    assert outcome.reason == (
        "needs test.loss in metrics.jsonl, which has train.loss, train.accuracy, test.f1, "
        "test.accuracy"
    )


def test_models_run_on_the_device_asked_for(folder, monkeypatch):
    meta = torch.device("meta")  # takes parameters, and computes nothing
    placed = []

    def noted(series, analyses):
        snapshot = series.snapshot(series.steps[-1], series.examples(count=1))
        placed.append(next(iter(snapshot.parameters().values())).device)
        return iter(())

    module = import_module("interp.measure.analyze")  # the package's `analyze` is the function
    monkeypatch.setattr(module, "pick_device", lambda device: meta)
    monkeypatch.setattr(module, "measure_steps", noted)
    analyze(Run(folder), ["WeightNorms"], device="cuda")
    assert placed == [meta]


def test_a_device_that_is_not_there_is_refused(folder, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="device cuda: torch sees no GPU here"):
        analyze(Run(folder), ["WeightNorms"], device="cuda")


def test_nothing_to_measure_builds_no_model(analysed_folder, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr("hooks.models.build", refused)
    monkeypatch.setattr("interp.measure.analyze.build", refused)
    assert not sum(summary.measured for summary in analyze(Run(analysed_folder)))


@pytest.mark.filterwarnings("ignore:the untrained model, checkpoint 0, is gone")
def test_pairs_are_drawn_by_the_option_change(folder):
    text = (folder / "experiment.toml").read_text()
    (folder / "experiment.toml").write_text(text + '\n[analyses.EdgeCircuit]\nchange = "a"\n')
    run = Run(folder)
    for step in run.steps[:-1]:
        run.checkpoint(step).unlink()
    analyze(run, ["EdgeCircuit"])
    result = run.result("EdgeCircuit")
    assert result.change == "a"
    by_hand = EdgeCircuit.measure(
        run.snapshot(count=1),
        pairs=run.input_pairs(None, 128, "a"),
        control=run.input_pairs(None, 128, "swap"),
    )
    np.testing.assert_array_equal(result.scores, by_hand.scores)
    np.testing.assert_array_equal(result.control_scores, by_hand.control_scores)
    assert trace(run, "EdgeCircuit")["span"].iloc[-1] == by_hand.span
    assert trace(run, "EdgeCircuit", change="b")["span"].iloc[-1] != by_hand.span
    assert traced(run, EdgeCircuit, change="a")["span"].iloc[-1] == by_hand.span


def test_an_unknown_change_is_an_error_that_names_those_there_are(folder):
    text = (folder / "experiment.toml").read_text()
    (folder / "experiment.toml").write_text(text + '\n[analyses.EdgeCircuit]\nchange = "c"\n')
    with pytest.raises(ValueError, match=r"EdgeCircuit.*change 'c' is none of both, a, b, swap"):
        analyze(Run(folder), ["EdgeCircuit"])


def test_a_task_without_pairs_is_passed_over(prompts_run, monkeypatch):
    monkeypatch.setattr(type(prompts_run.experiment.task), "changes", {})
    outcome = by_name(analyze(prompts_run, ["ActivationPatching"]))["ActivationPatching"]
    assert not outcome.applies
    assert "pairs of inputs, and this task gives none" in outcome.reason
