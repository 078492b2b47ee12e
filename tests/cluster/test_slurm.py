"""Real Slurm, two nodes: jobs that are cancelled, requeued, lost, left behind and found again."""

import json
from pathlib import Path

import pytest

from interp.executors.job_log import failures
from interp.executors.slurm import Slurm
from interp.sweeps.launch import train_sweep
from interp.sweeps.sweep import SweepFolder
from tests.cluster.sweeps import (
    Head,
    files_of,
    long_sweep,
    wait_for_work,
)

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("clusters")]
POLL = 0.3  # seconds between calls of squeue


def engine(folder: Path, **options) -> Slurm:
    return Slurm(folder, options, poll_seconds=POLL)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, bytes]:
    """The files of the long sweep, trained in this process."""
    folder = tmp_path_factory.mktemp("alone") / "long"
    train_sweep(long_sweep(), folder, device="cpu", stack=1)
    return files_of(folder)


def started(slurm, path: Path) -> tuple[Head, str]:
    """A head that trains the long sweep in two jobs, and has begun; the job of its first run."""
    run = next(iter(SweepFolder(path, long_sweep()).experiments()))
    head = Head(lambda: trained(path))
    wait_for_work(run)
    (record,) = (path / "jobs").glob("slurm-*.json")
    (own,) = [each["id"] for each in json.loads(record.read_text()) if str(run) in each["runs"]]
    return head, own


def trained(path: Path) -> SweepFolder:
    """Trains the long sweep in two jobs."""
    how = {"device": "cpu", "stack": 1, "jobs": 2}
    return train_sweep(long_sweep(), path, executor=engine(path), **how)


def test_a_cancelled_job_is_told_and_the_same_call_goes_on(slurm, tmp_path, alone):
    path = tmp_path / "long"
    head, own = started(slurm, path)
    slurm.says("scancel", own)
    with pytest.raises(ValueError, match=rf"1 of 2 groups .* job {own} is lost \(CANCELLED\); its"):
        head.ended()
    left = {each.name for each in SweepFolder(path, long_sweep()).left()}
    assert 0 < len(left) < 12
    told = failures(path)
    assert {told[name].partition(";")[0] for name in left} == {
        f"Slurm job {own} is lost (CANCELLED)"
    }
    trained(path)
    assert files_of(path) == alone


def test_a_requeued_job_is_waited_for(slurm, tmp_path, alone):
    path = tmp_path / "long"
    head, own = started(slurm, path)
    slurm.says("scontrol", "requeue", own)
    slurm.hasten(own)
    head.ended()
    assert files_of(path) == alone
    places = [text for text in logs(path) if f"Slurm job {own}\n" in text]
    assert len(places) == 2


def test_a_lost_node_has_its_job_finished_by_the_other(slurm, tmp_path, alone):
    path = tmp_path / "long"
    head, own = started(slurm, path)
    node = slurm.says("squeue", "--noheader", f"--jobs={own}", "--format=%N").strip()
    slurm.take_down(node)
    try:
        slurm.hasten(own)
        head.ended()
    finally:
        slurm.bring_up(node)
    assert files_of(path) == alone


def test_jobs_of_a_killed_head_are_waited_for_and_not_submitted_again(slurm, tmp_path, alone):
    path = tmp_path / "long"
    head, _ = started(slurm, path)
    before = {job for job, _ in slurm.jobs()}
    trained(path)
    assert {job for job, _ in slurm.jobs()} == before
    assert files_of(path) == alone
    head.ended()


def logs(path: Path) -> list[str]:
    """What the jobs of a sweep have logged."""
    return [file.read_text() for file in (path / "jobs").glob("*.log")]
