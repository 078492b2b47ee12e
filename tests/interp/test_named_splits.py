"""Analyses that name splits beside the task's own, and results of a run that read others'."""

import shutil

import pytest

from analyses import FourierSpectrum, TreeProjection
from interp.analyze import analyze
from interp.jobs import hashes_of, jobs_of
from interp.results import saved, saved_scalars
from interp.run import Run


@pytest.fixture
def copied(sentences_run, tmp_path):
    """A copy of the run with its internal measures, to be changed."""
    return Run(shutil.copytree(sentences_run.path, tmp_path / "copy"))


def test_trees_are_projected_on_both_splits(sentences_run):
    places = saved(sentences_run, ["TreeProjection"])
    assert [each.split for each in places] == ["validation", "generalization"]


def test_scalars_are_those_of_the_tasks_own_split(sentences_run):
    own = TreeProjection.measure(sentences_run.snapshot(count=TreeProjection.count))
    last = saved_scalars(sentences_run, "TreeProjection").iloc[-1]
    assert last["tparseval"] == pytest.approx(own.f1())


def test_a_split_that_the_task_lacks_is_passed_over(run, monkeypatch):
    monkeypatch.setattr(FourierSpectrum, "splits", (None, "test", "generalization"))
    jobs = jobs_of(run, FourierSpectrum, "FourierSpectrum", hashes_of(run))
    assert [job.split for job in jobs] == [None, "test"]


def test_a_result_that_reads_others_is_kept_while_those_stay(copied):
    assert [each.measured for each in analyze(copied, ["InternalMeasures"])] == [1]
    assert [each.measured for each in analyze(copied, ["InternalMeasures"])] == [0]


def test_a_result_that_reads_others_is_measured_again_when_those_change(copied):
    analyze(copied, ["InternalMeasures"])
    (saved(copied, ["WeightNorms"])[0].path / "2.npz").unlink()
    assert [each.measured for each in analyze(copied, ["InternalMeasures"])] == [1]
    assert saved(copied, ["InternalMeasures"])[0].load().steps.tolist() == [0, 4]
