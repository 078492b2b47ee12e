"""Experiment trackers: what is told of a run's training to Weights & Biases, Trackio and others?

A tracker takes the settings when training begins, each row of metrics at its step, and the end. The
run folder stays the only record that anything here reads: `trackers.json` in it says under which
name each tracker keeps the run, and the last step that it was given, so that no step is given twice
and rows from before a tracker was asked for are given later.

To add a tracker, write its class and add a line to `TRACKERS`. Libraries are imported when their
tracker is made. What they gather by themselves (the machine's name and load, git, source code, the
console) is switched off where they let it be.
"""

import contextvars
import io
import json
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hooks.messages import did_you_mean
from interp.config import Experiment
from interp.runs import Run, as_table, write_whole
from interp.tasks.data_files import names_folders
from interp.training.state import Row

PROJECT = "interp"  # under which trackers file runs, where their own settings name nothing else
FILE = "trackers.json"
MAX_TEXT_LETTERS = 500  # letters of a setting: some trackers refuse longer ones


@runtime_checkable
class Tracker(Protocol):
    """What is told of one run's training. Objects of users' own classes may be one."""

    def start(self, experiment: Experiment, path: Path, record: str) -> str:
        """Begins a record of a run, or goes on with one.

        Args:
            experiment: What is trained.
            path: The run folder.
            record: What `start` returned for this folder before; empty the first time.

        Returns:
            A text by which a later `start` finds the record again; not empty.
        """
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of a step, by `<split>.<metric>`; steps ascend."""
        ...

    def finish(self, failure: str) -> None:
        """Ends the record.

        Args:
            failure: Why training ended early; empty where it is done.
        """
        ...


class WandbTracker:
    """Weights & Biases: a run of the project in WANDB_PROJECT, or `interp`.

    Going on, it continues the run of the same id. Runs of a sweep share a group.
    """

    def __init__(self) -> None:
        self._wandb = _imported("wandb", "wandb")

    def start(self, experiment: Experiment, path: Path, record: str) -> str:
        """Begins or resumes a run of Weights & Biases; `record` is its id."""
        wandb = self._wandb
        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            host="",
            program="",
            quiet=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=record or secrets.token_hex(4),
            name=path.name,
            group=_sweep_of(path),
            config=settings_of(experiment),
            resume="allow",
            reinit="create_new",
            settings=settings,
        )
        return self._run.id

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs the metrics of a step."""
        self._run.log(_by_split(metrics), step=step)

    def finish(self, failure: str) -> None:
        """Ends the run, which waits for what is not sent yet."""
        self._run.finish(exit_code=1 if failure else 0)


class TrackioTracker:
    """Trackio: a run of the project `interp`, on this machine or where Trackio's settings say.

    A run's name is its folder's with six random digits, since Trackio goes on by name.
    """

    def __init__(self) -> None:
        self._trackio = _imported("trackio", "trackio")

    def start(self, experiment: Experiment, path: Path, record: str) -> str:
        """Begins or resumes a run of Trackio; `record` is its name."""
        name = record or f"{path.name}-{secrets.token_hex(3)}"
        with redirect_stdout(io.StringIO()):
            # In a context of its own: Trackio ends a context's earlier run.
            self._run = contextvars.Context().run(
                self._trackio.init,
                PROJECT,
                name=name,
                group=_sweep_of(path),
                config=settings_of(experiment),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return name

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs the metrics of a step."""
        self._run.log(_by_split(metrics), step=step)

    def finish(self, failure: str) -> None:
        """Ends the run; Trackio has no mark for failed ones."""
        with redirect_stdout(io.StringIO()):
            self._run.finish()


class TensorboardTracker:
    """TensorBoard: event files in `tensorboard/` of the run folder.

    Each call of training adds a file, which TensorBoard reads as one curve with the earlier ones.
    The file's name holds no name of the machine, as those of TensorBoard's own writer do, and each
    row is in it as soon as it is measured.
    """

    def __init__(self) -> None:
        writing = _imported("tensorboard.summary.writer.record_writer", "tensorboard")
        self._record_writer = writing.RecordWriter
        self._events = import_module("tensorboard.compat.proto.event_pb2")
        self._summaries = import_module("tensorboard.compat.proto.summary_pb2")

    def start(self, experiment: Experiment, path: Path, record: str) -> str:
        """Begins an event file; the experiment is in the first as a text."""
        folder = path / "tensorboard"
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{secrets.token_hex(4)}"
        self._file = (folder / name).open("xb")
        self._records = self._record_writer(self._file)
        self._write(self._events.Event(file_version="brain.Event:2"))
        if not record:
            self._write_settings(experiment)
        return folder.name

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of a step."""
        values = [
            self._summaries.Summary.Value(tag=tag, simple_value=value)
            for tag, value in _by_split(metrics).items()
        ]
        self._write(self._events.Event(step=step, summary=self._summaries.Summary(value=values)))

    def finish(self, failure: str) -> None:
        """Closes the file."""
        self._records.close()

    def _write_settings(self, experiment: Experiment) -> None:
        """Writes the settings as a table, which TensorBoard shows among its texts."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in settings_of(experiment).items())
        tensors, summaries = import_module("tensorboard.compat.proto.tensor_pb2"), self._summaries
        metadata = summaries.SummaryMetadata(
            plugin_data=summaries.SummaryMetadata.PluginData(plugin_name="text")
        )
        text = f"| setting | value |\n|---|---|\n{rows}\n".encode()
        tensor = tensors.TensorProto(dtype="DT_STRING", string_val=[text])
        value = summaries.Summary.Value(tag="experiment", metadata=metadata, tensor=tensor)
        self._write(self._events.Event(summary=summaries.Summary(value=[value])))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        self._records.flush()


class MlflowTracker:
    """MLflow: a run of the experiment in MLFLOW_EXPERIMENT_NAME, or `interp`.

    Where it is kept, MLFLOW_TRACKING_URI says. Going on, it continues the run of the same id. Tags
    that MLflow's own `start_run` sets (user, program, git commit) are not set.
    """

    def __init__(self) -> None:
        self._mlflow = _imported("mlflow", "mlflow-skinny")

    def start(self, experiment: Experiment, path: Path, record: str) -> str:
        """Begins or resumes a run of MLflow; `record` is its id."""
        self._client = client = self._mlflow.MlflowClient()
        if record:
            client.update_run(record, status="RUNNING")
            self._id = record
            return record
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = client.get_experiment_by_name(name)
        folder = found.experiment_id if found else client.create_experiment(name)
        self._id = client.create_run(folder, run_name=path.name).info.run_id
        for setting, value in settings_of(experiment).items():
            client.log_param(self._id, setting, value)
        return self._id

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs the metrics of a step."""
        now = int(time.time() * 1000)
        make = self._mlflow.entities.Metric
        values = [make(name, value, now, step) for name, value in _by_split(metrics).items()]
        self._client.log_batch(self._id, metrics=values)

    def finish(self, failure: str) -> None:
        """Ends the run, as failed where training ended early."""
        self._client.set_terminated(self._id, "FAILED" if failure else "FINISHED")


TRACKERS: dict[str, Callable[[], Tracker]] = {
    "wandb": WandbTracker,
    "trackio": TrackioTracker,
    "tensorboard": TensorboardTracker,
    "mlflow": MlflowTracker,
}

Track = str | Tracker | Sequence[str | Tracker]


def make_trackers(track: Track) -> dict[str, Tracker]:
    """Trackers by name: those that are named made, users' own as they are.

    Raises:
        ValueError: There is no such tracker, its library is not installed, or one is given twice.
    """
    wanted = [track] if isinstance(track, str | Tracker) else list(track)
    trackers: dict[str, Tracker] = {}
    for entry in wanted:
        name = entry if isinstance(entry, str) else type(entry).__qualname__
        if name in trackers:
            raise ValueError(f"track: '{name}' is given twice; leave one out")
        if isinstance(entry, str) and name not in TRACKERS:
            raise ValueError(
                f"track: no tracker '{name}'; there are {', '.join(TRACKERS)}"
                f"{did_you_mean(name, TRACKERS)}"
            )
        trackers[name] = TRACKERS[name]() if isinstance(entry, str) else entry
    return trackers


@contextmanager
def tracked(
    run: Run, rows: Sequence[Row], trackers: Mapping[str, Tracker]
) -> Iterator[Callable[[Row], None]]:
    """Tells trackers of a run's training, first of the rows that they were not given before.

    Args:
        run: The run, whose folder this process has locked.
        rows: Its metrics so far.
        trackers: By name; each is of this run alone.

    Yields:
        A function that takes each new row.

    Raises:
        ValueError: A tracker cannot begin, or `trackers.json` is damaged.
    """
    records: list[_Record] = []
    with ExitStack() as ending:
        for name, tracker in trackers.items():
            record = _Record(name, tracker, run)
            record.start()
            ending.push(record.end)
            records.append(record)

        def log(row: Row) -> None:
            for record in records:
                record.log(row)

        for row in rows:
            log(row)
        yield log


class _Record:
    """What one tracker was given of a run; once it fails, training goes on without it."""

    def __init__(self, name: str, tracker: Tracker, run: Run) -> None:
        self._name, self._tracker, self._run = name, tracker, run
        entry = _entries(run).get(name, {})
        self._id, self._step = str(entry.get("record", "")), int(entry.get("step", -1))
        self._has_failed = False

    def start(self) -> None:
        """Begins.

        Raises:
            ValueError: The tracker cannot.
        """
        try:
            self._id = self._tracker.start(self._run.experiment, self._run.path, self._id)
        except Exception as error:  # whatever the library raises
            raise ValueError(
                f"track: {self._name} could not begin ({_in_a_line(error)}), so nothing is "
                f"trained; see to its settings, or leave {self._name} out"
            ) from error
        self._note(self._step)

    def log(self, row: Row) -> None:
        """Gives a row, unless it was given before."""
        step = int(row["step"])
        if self._has_failed or step <= self._step:
            return
        before = self._step
        # Noted first: a process killed in between gives the row never rather than twice.
        self._note(step)
        metrics = {name: value for name, value in row.items() if name != "step"}
        try:
            self._tracker.log(step, metrics)
        except Exception as error:  # whatever the library raises
            self._note(before)
            self._fail(error)

    def end(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Ends the record, also where training was stopped."""
        stopped = "" if error is None else str(error) or type(error).__name__
        try:
            self._tracker.finish(self._run.failure or stopped)
        except Exception as fault:  # whatever the library raises
            if not self._has_failed:
                self._fail(fault)

    def _note(self, step: int) -> None:
        self._step = step
        entries = _entries(self._run) | {self._name: {"record": self._id, "step": step}}
        content = json.dumps(entries, indent=1).encode() + b"\n"
        write_whole(self._run.path / FILE, content, durable=False)

    def _fail(self, error: Exception) -> None:
        self._has_failed = True
        warnings.warn(
            f"{self._run.path}: {self._name} failed after step {self._step} "
            f"({_in_a_line(error)}); nothing more is given to it, and training goes on; the "
            "same command, given again, gives it the rows that it lacks",
            stacklevel=3,
        )


def settings_of(experiment: Experiment) -> dict[str, Any]:
    """Every setting by its path (`training.lr`), in short and without this machine's folders."""
    return {name: _shown(value) for name, value in experiment.fields.items()}


def _shown(value: Any) -> Any:
    """A setting as trackers take it: numbers, or texts that are not long."""
    plain = _without_folders(value)
    text = json.dumps(plain) if isinstance(plain, list | dict) else plain
    is_long = isinstance(text, str) and len(text) > MAX_TEXT_LETTERS
    return f"{text[: MAX_TEXT_LETTERS - 2]}.." if is_long else text


def _without_folders(value: Any) -> Any:
    """A value in which every path from the root is the file's name."""
    if isinstance(value, dict):
        return {name: _without_folders(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(part) for part in value]
    return Path(value).name if isinstance(value, str) and names_folders(value) else value


def _entries(run: Run) -> dict[str, Any]:
    """What `trackers.json` of a run says, by tracker.

    Raises:
        ValueError: It is damaged.
    """
    file = run.path / FILE
    if not file.is_file():
        return {}
    entries = as_table(file.read_bytes())
    if entries is None or not all(
        isinstance(entry, dict)
        and isinstance(entry.get("record"), str)
        and type(entry.get("step")) is int
        for entry in entries.values()
    ):
        raise ValueError(
            f"{file} is not a JSON table of record and step; delete it, and trackers are given all "
            "rows anew"
        )
    return entries


def _sweep_of(path: Path) -> str | None:
    """The name of the sweep that a run folder is of, if it is one's."""
    parent = path.resolve().parent
    return parent.name if (parent / "sweep.toml").is_file() else None


def _by_split(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as `train/loss`: trackers group by what stands before the slash."""
    return {name.replace(".", "/", 1): float(value) for name, value in metrics.items()}


def _imported(module: str, package: str) -> Any:
    """A tracker's library.

    Raises:
        ValueError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(
            f"track: {package} cannot be imported ({_in_a_line(error)}): pip install {package}"
        ) from None


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
