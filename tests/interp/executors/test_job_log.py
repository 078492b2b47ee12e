"""Logs beside a sweep: what a process says there, and which failures are read from it."""

import os
import socket
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from interp.executors.job_log import JobLog, failures, last_line
from interp.measure.runs import analyze_job
from interp.runs import Run
from interp.sweeps.launch import train_job, train_sweep
from tests.interp.sweeps.short_sweeps import short_sweep


def log_of(folder) -> str:
    """What the only log of a folder says."""
    (file,) = (folder / "jobs").glob("*.log")
    return file.read_text()


def test_a_process_says_where_it_runs_and_which_runs_it_trains(tmp_path):
    folder = train_sweep(short_sweep(seeds=2), tmp_path / "s", device="cpu", stack=2)
    lines = [line.partition(" ")[2] for line in log_of(tmp_path / "s").splitlines()]
    names = ",".join(path.name for path in folder.experiments())
    place = f"begins on {socket.gethostname()}, pid {os.getpid()}, cpu"
    assert lines == [place, f"trains {names}", f"ends {names}"]


def test_the_number_of_a_slurm_job_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    JobLog.of(tmp_path).begins("cpu")
    assert log_of(tmp_path).endswith(", cpu, Slurm job 12_3\n")


def test_a_failure_is_found_by_its_runs_first_line(tmp_path):
    try:
        raise ValueError("no room\nfor more")
    except ValueError as error:
        JobLog.of(tmp_path).failed(["a_s0-1", "b_s0-2"], error)
    assert failures(tmp_path) == {"a_s0-1": "no room", "b_s0-2": "no room"}
    assert "Traceback" in log_of(tmp_path)


def test_the_latest_failure_of_a_run_counts_whatever_the_files_order(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.log").write_text("2026-12-02T00:00:00Z failed x: late\n")
    (tmp_path / "jobs" / "b.log").write_text("2026-12-01T00:00:00Z failed x,y: early\n")
    assert failures(tmp_path) == {"x": "late", "y": "early"}


def test_lines_of_a_traceback_are_no_failures(tmp_path):
    JobLog.of(tmp_path).say("warning: odd\n2026-12-02T00:00:00Z failed x: quoted")
    assert failures(tmp_path) == {}


def test_a_folder_without_logs_has_no_failures(tmp_path):
    assert failures(tmp_path) == {}


def test_warnings_are_logged_and_shown(tmp_path):
    log = JobLog.of(tmp_path)
    with pytest.warns(UserWarning, match="odd"), log.warnings():
        warnings.warn("odd", stacklevel=1)
    assert log_of(tmp_path).endswith(" warning: odd\n")


def test_a_log_that_cannot_be_written_stops_no_work(tmp_path):
    (tmp_path / "jobs").write_text("a file")
    JobLog.of(tmp_path).say("something")
    assert (tmp_path / "jobs").read_text() == "a file"


def test_a_worker_that_does_not_see_the_sweep_says_where_it_is(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        train_job(str(tmp_path / "s"), {}, "cpu", None)
    assert str(caught.value).startswith(
        f"{socket.gethostname()} does not see {tmp_path / 's' / 'sweep.toml'}: put the sweep"
    )
    assert "\n" not in str(caught.value)


def unseen(*arguments: object) -> None:
    """A job on a machine that does not see the sweep, which can write no log there."""
    raise FileNotFoundError("node7 does not see sweep.toml")


def broken(*arguments: object) -> None:
    raise RuntimeError("broken")


def test_the_head_logs_what_no_worker_could(tmp_path, monkeypatch):
    monkeypatch.setattr("interp.sweeps.launch.train_job", unseen)
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="node7 does not see"):
        train_sweep(short_sweep(), tmp_path, device="cpu", executor=executor)
    assert set(failures(tmp_path).values()) == {"node7 does not see sweep.toml"}


def test_a_worker_without_the_device_asked_for_says_so_of_its_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "sweep.toml").touch()
    texts = {str(tmp_path / "s0-1a2b"): "", str(tmp_path / "s1-3c4d"): ""}
    with pytest.raises(ValueError, match="torch sees no GPU here"):
        train_job(str(tmp_path), texts, "cuda", None)
    told = "device cuda: torch sees no GPU here; use --device cpu or auto"
    assert failures(tmp_path) == {"s0-1a2b": told, "s1-3c4d": told}


def test_a_fault_is_logged_once(tmp_path, monkeypatch):
    monkeypatch.setattr("interp.sweeps.launch.train_together", broken)
    with pytest.raises(ValueError, match="1 of 1 groups were not trained: RuntimeError: broken"):
        train_sweep(short_sweep(), tmp_path, device="cpu", stack=2)
    assert log_of(tmp_path).count(" failed ") == 1


def test_an_analysis_elsewhere_logs_beside_the_run(folder):
    (told,) = analyze_job([str(folder)], ["LossCurve"], "cpu")
    assert told["fault"] != ""
    assert f" measures {folder.name}\n" in log_of(folder.parent)
    assert f" did not measure {folder.name}: " in log_of(folder.parent)
    assert failures(folder.parent) == {}
    assert Run(folder).steps


def test_the_last_line_is_the_last_with_text_of_the_first_file_that_has_one(tmp_path):
    (tmp_path / "empty").write_text("\n\n")
    (tmp_path / "full").write_text("first\nlast\n\n")
    assert last_line(tmp_path / "none", tmp_path / "empty", tmp_path / "full") == "last"
    assert last_line(tmp_path / "empty") == ""


def test_a_fault_counts_until_the_run_is_trained_again(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "1.log").write_text(
        "2026-12-01T01:00:00Z trains a,b\n2026-12-01T01:00:05Z failed a,b: no GPU\n"
    )
    assert failures(tmp_path) == {"a": "no GPU", "b": "no GPU"}
    (tmp_path / "jobs" / "2.log").write_text("2026-12-01T01:00:09Z trains b\n")
    assert failures(tmp_path) == {"a": "no GPU"}
