"""Real Slurm, two nodes: jobs that are cancelled, requeued, lost, left behind and found again."""

import json
import re
import socket
import sys
import time
from pathlib import Path

import pytest

from interp.cli.detach import detached
from interp.executors.engine import Job
from interp.executors.job_log import failures
from interp.executors.slurm import Slurm
from interp.sweeps.groups import Part
from interp.sweeps.launch import leave_sweep, train_job, train_sweep
from interp.sweeps.sweep import SweepFolder
from tests.cluster.sweeps import (
    Head,
    files_of,
    long_sweep,
    short_sweep,
    wait_for_work,
    wait_until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("clusters")]
POLL = 0.3  # seconds between calls of squeue


def engine(folder: Path, **options) -> Slurm:
    return Slurm(folder, options, poll_seconds=POLL)


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
    node = slurm.node_of(own)
    slurm.says("scancel", own)
    slurm.kill_jobs_on(node)
    with pytest.raises(ValueError, match=rf"1 of 2 groups .* job {own} is lost \(CANCELLED\); its"):
        head.ended()
    left = {each.name for each in SweepFolder(path, long_sweep()).left()}
    assert 0 < len(left) < 10
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
    # Its first life may have ended all of its work within Slurm's KillWait.
    assert "Restarts=1" in slurm.says("scontrol", "show", "job", own)


def test_a_lost_node_has_its_job_finished_by_the_other(slurm, tmp_path, alone):
    path = tmp_path / "long"
    head, own = started(slurm, path)
    node = slurm.node_of(own)
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


def test_ctrl_c_cancels_the_jobs_and_says_so(slurm, tmp_path):
    def stop(over: int) -> None:
        wait_until(lambda: "RUNNING" in dict(slurm.jobs()).values(), "a running job")
        raise KeyboardInterrupt

    jobs = [Job(time.sleep, (300 + number,)) for number in range(3)]
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="cancelled 3 jobs on"):
        engine(tmp_path).run(jobs, stop)
    (record,) = (tmp_path / "jobs").glob("slurm-*.json")
    ids = [each["id"] for each in json.loads(record.read_text())]
    wait_until(lambda: {dict(slurm.jobs())[own] for own in ids} == {"CANCELLED"}, "their end")


def test_a_sweep_that_is_left_goes_on_and_is_not_submitted_again(slurm, tmp_path):
    path, how = tmp_path / "short", {"device": "cpu", "stack": 4}
    said = detached(short_sweep(), path, engine(path), **how)
    assert re.fullmatch(rf"submitted 1 jobs to Slurm as \d+; .*: interp status {path}", said)
    again = leave_sweep(short_sweep(), path, engine(path), **how)
    assert again == "no job was submitted; 1 are in the queue already"
    train_sweep(short_sweep(), path, executor=engine(path), **how)
    assert not SweepFolder(path, short_sweep()).left()
    assert len(list((path / "jobs").glob("slurm-*.json"))) == 1


def test_another_job_that_has_the_id_of_an_older_one_is_not_waited_for(slurm, tmp_path):
    other = slurm.says("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 60").strip()
    train_sweep(short_sweep(), tmp_path / "s", device="cpu", part=Part(1, 2), stack=2)
    run = next(iter(SweepFolder(tmp_path / "s", short_sweep()).left()))
    job = {"id": other, "runs": [str(run)], "function": "interp.sweeps.launch:train_job"}
    record = json.dumps([job | {"is_kept": True, "digest": ""}])
    (tmp_path / "s" / "jobs" / f"slurm-{other}.json").write_text(record)
    assert engine(tmp_path / "s").queued() == set()
    slurm.says("scancel", other)


def test_values_and_faults_of_jobs_come_back(slurm, tmp_path):
    nowhere = tmp_path / "elsewhere"
    jobs = [Job(max, (1, 2)), Job(train_job, (str(nowhere), {}, "cpu", None))]
    done, fault = engine(tmp_path).run(jobs, lambda over: None)
    assert done.value == 2
    place = f"{socket.gethostname()} does not see {nowhere}/sweep.toml"
    assert str(fault.fault).startswith(place)
    assert not list((tmp_path / "jobs").glob("*.save_tmp"))


def test_a_job_that_finds_no_python_says_so(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    (outcome,) = engine(tmp_path).run([Job(max, (1, 2))], lambda over: None)
    assert re.fullmatch(
        r"Slurm job \d+ is lost \(FAILED\); its log ends with: .*error.*", str(outcome.fault)
    )


def test_what_slurm_does_not_take_is_one_line_with_its_own_words(slurm, tmp_path):
    queue = engine(tmp_path, partition="none")
    with pytest.raises(ValueError, match=r"Slurm did not take the jobs: .*invalid partition"):
        queue.run([Job(max, (1, 2))], lambda over: None)


def test_a_job_past_its_time_is_queued_again_and_goes_on(slurm, tmp_path, alone):
    path = tmp_path / "long"
    head, own = started(slurm, path)
    slurm.says("scancel", "--signal=USR2", own)  # as Slurm does before the limit
    slurm.hasten(own)
    head.ended()
    assert files_of(path) == alone
