"""Analyses that name splits beside the task's own, and results of a run that read others'."""

import dataclasses
import re
import shutil

import pytest

from analyses import FourierSpectrum, TreeProjection, WeightNorms
from interp.measure import sweep as analyze_sweep
from interp.measure.analyze import _not_by_default, analyze
from interp.runs.basis import step_results
from interp.runs.current import saved_scalars
from interp.runs.results import read_result, saved, write_result
from interp.runs.run import Run
from tests.interp.pages.written import only_page


@pytest.fixture
def copied(sentences_run, tmp_path):
    """A copy of the run with its internal measures, to be changed."""
    return Run(shutil.copytree(sentences_run.path, tmp_path / "copy"))


def test_trees_are_projected_on_every_split_that_is_named(sentences_run):
    places = saved(sentences_run, ["TreeProjection"])
    splits = [each.split for each in places]
    assert splits == ["validation", "generalization", "train_questions"]


def test_scalars_are_those_of_the_tasks_own_split(sentences_run):
    own = TreeProjection.measure(sentences_run.snapshot(count=TreeProjection.count))
    last = saved_scalars(sentences_run, "TreeProjection").iloc[-1]
    assert last["tparseval"] == pytest.approx(own.f1())


def test_a_split_that_the_task_lacks_is_passed_over(run, monkeypatch):
    monkeypatch.setattr(FourierSpectrum, "splits", (None, "test", "generalization"))
    results = step_results(run.basis(), FourierSpectrum, "FourierSpectrum")
    assert [each.split for each in results] == [None, "test"]


def measured(run, names):
    return {each.name: each.measured for each in analyze(run, names)}


def test_what_a_result_reads_is_measured_with_it(copied):
    shutil.rmtree(copied.path / "results")
    assert measured(copied, ["InternalMeasures"]) == {
        "TreeProjection": 3 * len(copied.steps),
        "AttentionSparsity": len(copied.steps),
        "WeightNorms": len(copied.steps),
        "InternalMeasures": 1,
    }


def test_a_result_that_reads_others_is_kept_while_those_stay(copied):
    analyze(copied, ["InternalMeasures"])
    assert set(measured(copied, ["InternalMeasures"]).values()) == {0}


def test_a_result_that_reads_others_is_measured_again_when_those_change(copied):
    analyze(copied, ["InternalMeasures"])
    path = saved(copied, ["WeightNorms"])[0].path / "2.npz"
    result, header = read_result(path, WeightNorms)
    assert isinstance(result, WeightNorms)
    write_result(path, dataclasses.replace(result, norms=2 * result.norms), header)
    assert measured(copied, ["InternalMeasures"])["InternalMeasures"] == 1


def test_the_contents_tell_the_splits_of_one_analysis_apart(sentences_run, tmp_path):
    page = only_page([sentences_run], tmp_path / "report")
    for heading in (r"<h2>(Tree.*)</h2>", r'<a href="#result-\d+">(Tree.*)</a>'):
        assert re.findall(heading, page) == [
            "Tree projection: validation",
            "Tree projection: generalization",
            "Tree projection: train_questions",
        ]
    assert "<h2>Weight norms</h2>" in page


def test_fewest_weights_are_not_looked_for_unasked_without_a_training_set(copied):
    found = {each.name: each for each in analyze(copied)}["EffectiveSubnetwork"]
    assert not found.measured
    assert found.reason.startswith("unasked, needs a task with the labels train, and this one has")
    assert found.reason.endswith("; --only EffectiveSubnetwork asks for it")


def test_fewest_weights_are_looked_for_when_asked_by_name(copied):
    assert [each.measured for each in analyze(copied, ["EffectiveSubnetwork"])] == [3]


@pytest.mark.filterwarnings("ignore:the untrained model, checkpoint 0, is gone")
def test_fewest_weights_are_looked_for_when_options_ask(copied):
    experiment = copied.experiment
    options = {"EffectiveSubnetwork": {"shares": [0.5]}}
    asking = experiment.model_copy(update={"analyses": options})
    (copied.path / "experiment.toml").write_text(asking.to_toml(), "utf-8")
    for step in copied.steps[:-1]:
        copied.checkpoint(step).unlink()
    found = {each.name: each for each in analyze(Run(copied.path))}
    assert found["EffectiveSubnetwork"].measured == 1


def test_fewest_neurons_are_looked_for_unasked_where_there_is_a_training_set(run):
    assert not _not_by_default(run, "EffectiveSubnetwork", (), run.snapshot)


@pytest.mark.parametrize("names", [["WeightNorms"], None])
def test_members_of_a_sweep_are_asked_by_name_only_where_the_sweep_was(
    sentences_sweep, monkeypatch, names
):
    given = []
    monkeypatch.setattr("interp.measure.runs.analyze", lambda run, names, **_: given.append(names))
    monkeypatch.setattr(analyze_sweep, "_measure_whole", lambda members, jobs: ([], []))
    monkeypatch.setattr(analyze_sweep, "run_analyses", lambda: ("WeightNorms",))
    analyze_sweep.analyze_sweep(sentences_sweep, names)
    assert given == [names] * 4
