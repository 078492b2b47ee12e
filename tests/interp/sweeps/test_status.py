"""How a sweep stands, by its folders alone."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from interp.cli.commands import app
from interp.executors.job_log import JobLog
from interp.runs.leases import LEASE_SECONDS, Lease, lease_of
from interp.runs.opening import locked
from interp.sweeps.launch import train_sweep
from interp.sweeps.status import SweepStatus, file_system_time, sweep_status
from interp.sweeps.sweep import SweepFolder
from interp.training.loop import train
from interp.training.state import append_metrics
from tests.interp.sweeps.short_sweeps import VARY, short_sweep

STOP = {"metric": "test.accuracy", "at_least": 0.5, "evaluations": 1}


@pytest.fixture
def sweep(tmp_path) -> SweepFolder:
    """A sweep of eight runs of 10 updates, none of which has begun."""
    folder = SweepFolder(tmp_path / "sweep", short_sweep(vary=VARY))
    folder.path.mkdir()
    (folder.path / "sweep.toml").write_text(folder.sweep.to_toml())
    return folder


def paths_of(sweep: SweepFolder) -> list[Path]:
    return list(sweep.experiments())


def begin(path: Path, rows: int, kept: int = 0) -> None:
    """A folder with rows of steps 0, 1, .. and checkpoints of steps 0 and `kept`."""
    (path / "checkpoints").mkdir(parents=True)
    (path / "metrics.jsonl").write_text("".join(f'{{"step": {n}}}\n' for n in range(rows)))
    for step in {0, kept}:
        (path / "checkpoints" / f"{step}.safetensors").touch()


def hold(path: Path, *, ago: float, beat_ago: float = 0.0, host: str = "node07", **facts) -> None:
    """The lease of a process on another machine."""
    now = file_system_time(path)
    owner = {"process": 4711, "machine": "another", "token": "0" * 16} | facts
    lease = Lease(path, 1, host=host, began=now - ago, **owner)
    lease.file.write_bytes(lease.content())
    os.utime(lease.file, (now - beat_ago, now - beat_ago))


def age(file: Path, ago: float) -> None:
    """Makes a file older, as seen by the file system's clock."""
    at = file_system_time(file.parent) - ago
    os.utime(file, (at, at))


def counts_of(status: SweepStatus) -> dict[str, int]:
    return {state: count for state, count in status.counts.items() if count}


def test_a_sweep_that_has_not_begun_is_left(sweep):
    status = sweep_status(sweep.path)
    assert counts_of(status) == {"left": 8}
    assert (status.steps_left, status.rate, status.seconds_left) == (80, None, None)
    assert status.lines()[1:] == [
        "       8 left",
        "80 steps left; nothing runs, so there is no estimate of the end",
    ]


def test_a_sweep_that_was_trained_is_done(tmp_path):
    folder = train_sweep(short_sweep(), tmp_path, device="cpu")
    status = sweep_status(folder)
    assert counts_of(status) == {"done": 2}
    assert [run.step for run in status.runs] == [10, 10]
    assert status.lines() == [f"{tmp_path}: 2 runs", "       2 done"]


def test_a_run_that_met_its_stop_rule_is_done(tmp_path):
    experiment = short_sweep().base
    training = experiment.require_training()
    stopping = training.model_copy(
        update={"stop": type(training).model_validate({"steps": 1, "stop": STOP}).stop}
    )
    table = experiment.model_copy(update={"training": stopping})
    folder = SweepFolder(tmp_path, short_sweep(base=table, seeds=1))
    [path] = folder.experiments()
    begin(path, rows=0, kept=5)
    (path / "metrics.jsonl").write_text(
        '{"step": 0, "test.accuracy": 0.1}\n{"step": 5, "test.accuracy": 0.6}\n'
    )
    status = sweep_status(folder)
    assert [(run.state, run.step) for run in status.runs] == [("done", 5)]
    (path / "metrics.jsonl").write_text(
        '{"step": 0, "test.accuracy": 0.1}\n{"step": 5, "test.accuracy": 0.4}\n'
    )
    assert counts_of(sweep_status(folder)) == {"left": 1}


def test_a_run_without_its_last_checkpoint_is_left(sweep):
    begin(paths_of(sweep)[0], rows=11, kept=5)
    status = sweep_status(sweep.path)
    assert counts_of(status) == {"left": 8}
    assert status.steps_left == 75  # it goes on from its last checkpoint


def test_failures_are_counted_by_reason_over_the_steps_in_it(sweep):
    reasons = ["not numbers at step 300; lower lr", "not numbers at step 20; lower lr", "other"]
    for path, reason in zip(paths_of(sweep), reasons, strict=False):
        begin(path, rows=1)
        (path / "failure.json").write_text(json.dumps({"step": 0, "reason": reason}))
    assert sweep_status(sweep.path).lines()[1:4] == [
        "       3 failed: they are passed over",
        "          2: not numbers at steps 20 to 300; lower lr",
        "          1: other",
    ]


def test_a_run_is_running_while_its_lease_is_touched(sweep):
    first, second, third, *_ = paths_of(sweep)
    for path in (first, second, third):
        begin(path, rows=1)
    hold(first, ago=7200)
    hold(second, ago=7200, beat_ago=LEASE_SECONDS - 5)
    hold(third, ago=7200, beat_ago=LEASE_SECONDS + 5)
    assert counts_of(sweep_status(sweep.path)) == {"running": 2, "lost": 1, "left": 5}


def test_a_lost_run_tells_for_how_long_and_goes_on_from_its_checkpoint(sweep):
    path = paths_of(sweep)[0]
    begin(path, rows=8, kept=5)
    hold(path, ago=7200, beat_ago=720)
    status = sweep_status(sweep.path)
    assert status.steps_left == 75
    assert status.lines()[1:3] == [
        "       1 lost: the same command takes them over",
        "          node07, process 4711: 1 run, no sign for 12.0 min",
    ]


def test_a_lease_that_was_given_back_holds_nothing(sweep):
    path = paths_of(sweep)[0]
    begin(path, rows=1)
    hold(path, ago=100, is_held=False)
    assert counts_of(sweep_status(sweep.path)) == {"left": 8}


def test_a_run_that_ends_between_two_looks_is_done(sweep, monkeypatch):
    path = paths_of(sweep)[0]
    begin(path, rows=6)
    hold(path, ago=100, is_held=False)

    def end_and_look(folder: Path) -> Lease | None:
        (path / "metrics.jsonl").write_text('{"step": 10}\n')
        (path / "checkpoints" / "10.safetensors").touch()
        return lease_of(folder)

    monkeypatch.setattr("interp.sweeps.status.lease_of", end_and_look)
    assert counts_of(sweep_status(sweep.path)) == {"done": 1, "left": 7}


def test_a_process_of_this_machine_is_seen_while_it_holds_a_folder(sweep):
    path = paths_of(sweep)[0]
    begin(path, rows=1)
    with locked(path):
        [run] = sweep_status(sweep.path).in_state("running")
    assert (run.process, run.silent < LEASE_SECONDS) == (os.getpid(), True)
    assert counts_of(sweep_status(sweep.path)) == {"left": 8}


def test_a_process_of_this_machine_that_was_killed_is_lost_at_once(sweep):
    path = paths_of(sweep)[0]
    begin(path, rows=1)
    child = os.fork()
    if not child:
        with locked(path):
            os._exit(0)  # without giving it back
    os.waitpid(child, 0)
    status = sweep_status(sweep.path)
    assert counts_of(status) == {"lost": 1, "left": 7}
    assert status.lines()[2].endswith("1 run, its process has ended")


def test_the_rate_is_that_of_all_running_runs_since_they_began(sweep):
    first, second, third, *_ = paths_of(sweep)
    begin(first, rows=7)  # 6 updates in 60 s
    begin(second, rows=9, kept=5)  # 3 updates in 60 s, since it went on from step 5
    begin(third, rows=1)  # none yet: it counts as their mean
    for path in (first, second, third):
        hold(path, ago=80)
        age(path / "metrics.jsonl", 10)
        age(path / "checkpoints" / "0.safetensors", 70)
    age(second / "checkpoints" / "0.safetensors", 90)
    age(second / "checkpoints" / "5.safetensors", 70)
    status = sweep_status(sweep.path)
    assert [run.rate for run in status.in_state("running")] == [
        pytest.approx(0.1, rel=0.02),
        pytest.approx(0.05, rel=0.02),
        None,
    ]
    assert status.rate == pytest.approx(3 * 0.075, rel=0.02)
    assert status.steps_left == 4 + 2 + 10 + 50
    assert status.seconds_left == pytest.approx(66 / 0.225, rel=0.02)


def test_rows_of_an_earlier_process_are_no_rate(sweep):
    path = paths_of(sweep)[0]
    begin(path, rows=7, kept=5)
    hold(path, ago=30)
    for file in (path / "checkpoints").iterdir():
        age(file, 40)
    age(path / "metrics.jsonl", 29.9)  # just copied by the process that took the folder over
    status = sweep_status(sweep.path)
    assert status.rate is None
    assert status.lines()[-1] == (
        "74 steps left; no estimate of the end until a running run records its next row"
    )


def test_a_rate_is_not_told_from_a_moment(sweep):
    path = paths_of(sweep)[0]
    begin(path, rows=7)
    hold(path, ago=30)
    age(path / "checkpoints" / "0.safetensors", 20)
    age(path / "metrics.jsonl", 19.9)
    assert sweep_status(sweep.path).rate is None


def test_machines_are_listed_by_how_many_runs_they_have(sweep):
    for number, path in enumerate(paths_of(sweep)):
        begin(path, rows=1)
        hold(path, ago=600, host="node08" if number < 5 else "node09", process=min(number, 5))
    since = time.localtime(sweep_status(sweep.path).now - 600)
    lines = sweep_status(sweep.path).lines()
    assert [line.split(" since ")[0] for line in lines[1:4]] == [
        "       8 running",
        "          node08: 5 runs in 5 processes",
        "          node09, process 5: 3 runs",
    ]
    assert time.strftime("%H:%M", since) in lines[2]


def test_no_more_machines_are_listed_than_can_be_read(tmp_path):
    folder = SweepFolder(tmp_path, short_sweep(seeds=30))
    for number, path in enumerate(folder.experiments()):
        begin(path, rows=1)
        hold(path, ago=600, host=f"node{number}")
    lines = sweep_status(folder).lines()
    assert lines[10] == "          and 22 more lines: see --json, or --runs"
    assert len(lines) == 12


def test_a_fault_of_a_job_is_told_until_the_run_is_done(sweep):
    first, second, *_ = paths_of(sweep)
    JobLog.of(sweep.path).failed([first.name, second.name], ValueError("no room\nat all"))
    begin(first, rows=6, kept=5)
    status = sweep_status(sweep.path)
    assert counts_of(status) == {"stopped": 2, "left": 6}
    assert status.steps_left == 75
    assert status.lines()[1:3] == [
        "       2 stopped: the same command tries them again",
        "          2: no room",
    ]
    train(sweep.experiments()[second], second, device="cpu")
    assert counts_of(sweep_status(sweep.path)) == {"done": 1, "stopped": 1, "left": 6}


def test_a_folder_that_cannot_be_read_is_counted_apart(sweep):
    paths_of(sweep)[0].write_text("no folder")
    status = sweep_status(sweep.path)
    assert counts_of(status) == {"unreadable": 1, "left": 7}
    assert "Not a directory" in " ".join(" ".join(status.lines()).split())


MEANWHILE = {
    "half a row": lambda path: (path / "metrics.jsonl").write_text('{"step": 0}\n{"st'),
    "no metrics yet": lambda path: (path / "metrics.jsonl").unlink(),
    "no checkpoints yet": lambda path: (path / "checkpoints" / "0.safetensors").unlink(),
    "half a lease": lambda path: (path / ".lease.1").write_bytes(b'{"state": "he'),
    "an empty lease": lambda path: (path / ".lease.1").write_bytes(b""),
    "a temporary file": lambda path: (path / ".failure.json.0123abcd.tmp").write_text("{"),
    "a damaged checkpoint's name": lambda path: (path / "checkpoints" / "x.safetensors").touch(),
}


@pytest.mark.parametrize("change", MEANWHILE.values(), ids=MEANWHILE)
def test_a_folder_that_is_written_meanwhile_is_told_as_running(change, sweep):
    path = paths_of(sweep)[0]
    begin(path, rows=1)
    hold(path, ago=50)
    change(path)
    status = sweep_status(sweep.path)
    assert counts_of(status) == {"running": 1, "left": 7}
    assert status.rate is None


def test_looking_changes_nothing(sweep):
    begin(paths_of(sweep)[0], rows=1)
    before = sorted(sweep.path.rglob("*"))
    sweep_status(sweep.path)
    assert sorted(sweep.path.rglob("*")) == before


def test_the_clock_is_the_file_systems(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    (tmp_path / "file").touch()
    assert file_system_time(tmp_path) == pytest.approx((tmp_path / "file").stat().st_mtime, abs=60)
    assert file_system_time(tmp_path / "missing") == 0.0


def test_a_run_and_a_folder_of_runs_have_a_status_too(folder):
    assert counts_of(sweep_status(folder)) == {"done": 1}
    (folder / "checkpoints" / "40.safetensors").unlink()
    assert counts_of(sweep_status(folder.parent)) == {"left": 1}


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is no sweep .* and holds no run"):
        sweep_status(tmp_path)


def test_a_damaged_sweep_file_is_named(sweep):
    (sweep.path / "sweep.toml").write_text("base = [")
    with pytest.raises(ValueError, match=r"sweep\.toml: not TOML"):
        sweep_status(sweep.path)


def test_the_rate_of_a_resumed_stack_is_that_of_its_rows_on_the_clock(tmp_path, monkeypatch):
    vary = {
        "training.lr": [1e-3, 1e-2],
        "training.steps": [100],
        "training.evaluate": [{"every": 20}],
        "training.checkpoints": [{"every": 20}],
    }
    sweep, seen = short_sweep(vary=vary, seeds=1), []
    recorded: dict[int, float] = {}  # when the last row of a step was written

    def interrupt(run, row) -> None:
        if row["step"] == 40:
            raise KeyboardInterrupt
        append_metrics(run, row)

    def append_slowly(run, row) -> None:
        append_metrics(run, row)
        recorded[row["step"]] = time.time()
        time.sleep(0.4)

    monkeypatch.setattr("interp.training.loop.append_metrics", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_sweep(sweep, tmp_path, device="cpu", stack=2)
    monkeypatch.setattr("interp.training.loop.append_metrics", append_slowly)
    train_sweep(
        sweep,
        tmp_path,
        device="cpu",
        stack=2,
        on_progress=lambda now: seen.append(sweep_status(tmp_path)),
    )
    known = [status for status in seen if status.rate]
    assert {run.step for status in known for run in status.runs} >= {60}
    steps = [status.runs[0].step for status in known]
    by_clock = [2 * (step - 20) / (recorded[step] - recorded[20]) for step in steps]
    ratios = [status.rate / rate for status, rate in zip(known, by_clock, strict=True)]
    # Of most looks: a busy disk may put off a checkpoint's time for a while.
    assert np.median(ratios) == pytest.approx(1, rel=0.5)
    assert {run.process for status in known for run in status.runs} == {os.getpid()}
    assert counts_of(seen[-1]) == {"done": 2}


def test_the_table_has_a_row_for_each_run(sweep):
    table = sweep_status(sweep.path).to_frame()
    assert list(table["name"]) == [p.name for p in paths_of(sweep)]
    assert set(table["state"]) == {"left"}


def call(capsys, *arguments: object) -> str:
    app([*map(str, arguments)], standalone_mode=False)
    return capsys.readouterr().out


def test_the_command_tells_every_path_that_it_can(sweep, tmp_path, capsys):
    with pytest.raises(ValueError, match="nowhere is no sweep"):
        app(["status", str(tmp_path / "nowhere"), str(sweep.path)], standalone_mode=False)
    assert capsys.readouterr().out.startswith(f"{sweep.path}: 8 runs\n")


def test_the_command_lists_runs_where_asked(sweep, capsys):
    begin(paths_of(sweep)[0], rows=6, kept=5)
    lines = call(capsys, "status", sweep.path, "--runs").splitlines()
    assert f"{paths_of(sweep)[0].name}: left, step 5 of 10" in lines
    assert len(lines) == 3 + 8


def test_the_command_gives_json(sweep, capsys):
    hold_all = paths_of(sweep)[:2]
    for path in hold_all:
        begin(path, rows=1)
        hold(path, ago=10)
    found = json.loads(call(capsys, "status", sweep.path, "--json"))
    assert found["counts"]["running"] == 2
    assert found["processes"][0] | {"since": 0, "silent": 0} == {
        "host": "node07",
        "process": 4711,
        "state": "running",
        "runs": 2,
        "since": 0,
        "silent": 0,
    }
    assert "each" not in found
    assert len(json.loads(call(capsys, "status", sweep.path, "--json", "--runs"))["each"]) == 8


def test_lines_fit_a_terminal(sweep):
    for path in paths_of(sweep):
        begin(path, rows=1)
        (path / "failure.json").write_text(json.dumps({"reason": "a long reason; " * 12}))
    assert max(map(len, sweep_status(sweep.path).lines()[1:])) <= 80
    assert lease_of(paths_of(sweep)[0]) is None
