"""What trackers of users and of libraries are given, when training is killed and when they fail."""

import json
import socket
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from interp.runs.run import Run, read_metrics
from interp.sweeps.launch import train_sweep
from interp.training.loop import train
from interp.training.trackers import TRACKERS, Tracker, settings_of
from tests.interp.tasks.factors.test_file import experiment_of
from tests.planted import tiny_experiment
from tests.sweeps import tiny_sweep

STEPS = list(range(0, 41, 5))  # at which the tiny experiment is evaluated


class Told:
    """A user's own tracker, which remembers what it is told."""

    def __init__(self, fails_at=None, never_begins=False):
        self.begun, self.rows, self.ended = [], [], []
        self.fails_at, self.never_begins = fails_at, never_begins

    def start(self, experiment, path, record):
        if self.never_begins:
            raise RuntimeError("no key\nto log in with")
        self.begun.append((experiment.name, path, record))
        return record or "a-record"

    def log(self, step, metrics):
        if step == self.fails_at:
            raise ConnectionError("the server is gone")
        self.rows.append({"step": step} | dict(metrics))

    def finish(self, failure):
        self.ended.append(failure)

    @property
    def steps(self):
        return [row["step"] for row in self.rows]


def stopped(path, track, step=20):
    """A training that is stopped by Ctrl-C once it has evaluated a step."""

    def stop(row, end):
        if row["step"] == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny_experiment(), path, device="cpu", on_evaluate=stop, track=track)


def noted(path):
    return json.loads((path / "trackers.json").read_text())


def test_a_tracker_is_given_the_experiment_each_row_and_the_end(tmp_path):
    told = Told()
    run = train(tiny_experiment(), tmp_path / "run", device="cpu", track=told)
    assert told.begun == [("tiny", run.path, "")]
    assert told.rows == read_metrics(run.path / "metrics.jsonl")
    assert told.steps == STEPS
    assert told.ended == [""]


def test_an_object_with_the_three_methods_is_a_tracker():
    assert isinstance(Told(), Tracker)
    assert not isinstance(SimpleNamespace(log=print), Tracker)


def test_what_is_trained_does_not_depend_on_trackers(run, tmp_path):
    tracked = train(tiny_experiment(), tmp_path / "run", device="cpu", track=Told())
    assert tracked.checkpoint(40).read_bytes() == run.checkpoint(40).read_bytes()


def test_going_on_gives_no_step_twice_and_none_too_few(tmp_path):
    before, after = Told(), Told()
    stopped(tmp_path / "run", before)
    assert before.steps == [0, 5, 10, 15, 20]
    assert before.ended == ["KeyboardInterrupt"]
    train(tiny_experiment(), tmp_path / "run", device="cpu", track=after)
    assert after.begun[0][2] == "a-record"
    assert before.steps + after.steps == STEPS


def test_rows_from_before_a_tracker_was_asked_for_are_given_first(tmp_path):
    told = Told()
    stopped(tmp_path / "run", ())
    train(tiny_experiment(), tmp_path / "run", device="cpu", track=told)
    assert told.steps == STEPS


def test_a_tracker_that_fails_is_left_out_with_one_warning_and_gets_the_rest_later(tmp_path):
    told, other, later = Told(fails_at=15), Other(), Told()
    message = r"run: Told failed after step 10 \(the server is gone\); nothing more is given to it"
    with pytest.warns(UserWarning, match=message) as warned:
        train(tiny_experiment(), tmp_path / "run", device="cpu", track=[told, other])
    assert len(warned) == 1
    assert told.steps == [0, 5, 10]
    assert other.steps == STEPS
    train(tiny_experiment(), tmp_path / "run", device="cpu", track=later)
    assert later.steps == STEPS[3:]


class Other(Told):
    """A tracker of another class."""


class Unending(Told):
    """A tracker that fails at the end."""

    def finish(self, failure):
        raise OSError("no space left")


def test_a_tracker_that_cannot_end_is_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="Unending failed after step 40 .no space left"):
        train(tiny_experiment(), tmp_path / "run", device="cpu", track=Unending())


def test_a_tracker_that_cannot_begin_is_refused_before_training(tmp_path):
    path, other = tmp_path / "run", Other()
    with pytest.raises(ValueError, match=r"Told could not begin \(no key to log in with\)") as told:
        train(tiny_experiment(), path, device="cpu", track=[other, Told(never_begins=True)])
    assert "\n" not in str(told.value)
    assert Run(path).steps == ()
    assert not (path / "metrics.jsonl").exists()
    assert other.ended == [str(told.value)]


def test_a_run_that_diverges_ends_as_failed(tmp_path):
    told = Told()
    with pytest.raises(ValueError, match="not numbers"):
        train(tiny_experiment(lr=1e30), tmp_path / "run", device="cpu", track=told)
    assert told.ended == [Run(tmp_path / "run").failure]
    assert "training.lr" in told.ended[0]


@pytest.mark.parametrize(
    ("track", "message"),
    [
        ("wandbb", "no tracker 'wandbb'; there are wandb, trackio, tensorboard, mlflow; did you"),
        ([Told(), Told()], "'Told' is given twice"),
        (["tensorboard", "tensorboard"], "'tensorboard' is given twice"),
    ],
)
def test_wrong_trackers_are_refused_before_anything_is_written(track, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(tiny_experiment(), tmp_path / "run", device="cpu", track=track)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_refused_with_what_to_install(
    name, monkeypatch, tmp_path
):
    for module in [loaded for loaded in sys.modules if loaded.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    package = {"mlflow": "mlflow-skinny"}.get(name, name)
    message = rf"track: {package} cannot be imported .*: pip install {package}"
    with pytest.raises(ValueError, match=message):
        train(tiny_experiment(), tmp_path / "run", device="cpu", track=name)
    with pytest.raises(ValueError, match=message):
        train_sweep(tiny_sweep(), tmp_path / "sweep", device="cpu", track=[name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["[]", '{"Told": 3}', '{"Told": {"record": "x", "step": "1"}}'])
def test_damaged_notes_are_refused(content, tmp_path):
    stopped(tmp_path / "run", Told())
    (tmp_path / "run" / "trackers.json").write_text(content)
    with pytest.raises(ValueError, match=r"trackers\.json is not a JSON table .*; delete it"):
        train(tiny_experiment(), tmp_path / "run", device="cpu", track=Told())


def test_settings_hold_no_folder_of_the_machine(tmp_path):
    from tests.interp.tasks.images import saved

    phases = [{"difficulty": 0.5}]
    settings = settings_of(experiment_of(saved(tmp_path), phases=phases))
    assert settings["task.file"] == Path(saved(tmp_path)).name
    assert settings["training.steps"] == 3
    assert Path(saved(tmp_path)).name in settings["training.schedule"]
    assert str(tmp_path) not in json.dumps(settings)


def test_a_long_setting_is_cut():
    experiment = tiny_experiment()
    task = experiment.task.model_copy(update={"train_pairs": "ab" * 4000})
    settings = settings_of(experiment.model_copy(update={"task": task}))
    assert max(len(str(value)) for value in settings.values()) == 500


# The libraries themselves.


def library(module):
    """A module of a tracker's library; skips, saying so, where it is not installed."""
    package = module.partition(".")[0]
    return pytest.importorskip(module, reason=f"NOT TESTED: pip install {package}")


def events(path):
    """Rows of all event files of a run, as TensorBoard reads them, and its tags of texts."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(path / "tensorboard")).Reload()
    by_tag = {tag: read.Scalars(tag) for tag in read.Tags()["scalars"]}
    rows = {tag: {event.step: event.value for event in scalars} for tag, scalars in by_tag.items()}
    assert all(len(rows[tag]) == len(by_tag[tag]) for tag in by_tag)  # no step twice
    return rows, read.Tags()["tensors"], read


def test_tensorboard_reads_what_was_recorded(tmp_path):
    library("tensorboard")
    stopped(tmp_path / "run", "tensorboard")
    run = train(tiny_experiment(), tmp_path / "run", device="cpu", track="tensorboard")
    rows, texts, read = events(run.path)
    recorded = {row["step"]: row for row in read_metrics(run.path / "metrics.jsonl")}
    assert sorted(rows) == ["test/accuracy", "test/loss", "train/accuracy", "train/loss"]
    losses = {step: row["train.loss"] for step, row in recorded.items()}
    assert rows["train/loss"] == pytest.approx(losses, rel=1e-6)
    assert texts == ["experiment"]
    (event,) = read.Tensors("experiment")
    assert b"| task.p | 7 |" in event.tensor_proto.string_val[0]
    assert len(list((run.path / "tensorboard").iterdir())) == 2


def test_event_files_are_not_named_after_the_machine(tmp_path):
    library("tensorboard")
    run = train(tiny_experiment(steps=1), tmp_path / "run", device="cpu", track="tensorboard")
    (file,) = (run.path / "tensorboard").iterdir()
    assert [len(part) for part in file.name.split(".")] == [6, 3, 8, 10, 8]
    assert socket.gethostname().encode() not in file.read_bytes()


def test_each_run_of_a_sweep_has_a_record_of_its_own(tmp_path):
    library("tensorboard")
    sweep = tiny_sweep(vary={}, base=tiny_experiment(steps=10))
    folder = train_sweep(
        sweep, tmp_path / "sweep", device="cpu", stack=2, workers=1, track=["tensorboard"]
    )
    for path in folder.experiments():
        rows = events(path)[0]["train/loss"]
        recorded = read_metrics(path / "metrics.jsonl")
        wanted = {row["step"]: row["train.loss"] for row in recorded}
        assert rows == pytest.approx(wanted, rel=1e-6)


def test_workers_are_given_the_trackers(tmp_path):
    library("tensorboard")
    sweep = tiny_sweep(vary={}, base=tiny_experiment(steps=5))
    folder = train_sweep(
        sweep, tmp_path / "sweep", device="cpu", stack=1, workers=2, track=["tensorboard"]
    )
    assert [sorted(events(path)[0]["train/loss"]) for path in folder.experiments()] == [[0, 5]] * 2


def test_the_command_line_takes_trackers(monkeypatch, capsys, tmp_path):
    library("tensorboard")
    from interp.cli import commands

    (tmp_path / "tiny.toml").write_text(tiny_experiment(steps=5).to_toml())
    words = ["train", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "run"), "--track"]
    monkeypatch.setattr(sys, "argv", ["interp", *words, "tensorboard"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert not ended.value.code
    assert sorted(events(tmp_path / "run")[0]["test/loss"]) == [0, 5]
    monkeypatch.setattr(sys, "argv", ["interp", *words, "tensorbord"])
    with pytest.raises(SystemExit):
        commands.main()
    assert capsys.readouterr().err == (
        "interp: track: no tracker 'tensorbord'; there are wandb, trackio, tensorboard, mlflow; "
        "did you mean tensorboard?\n"
    )


@pytest.fixture(scope="module")
def trackio_folder(tmp_path_factory):
    """The folder of Trackio, which it reads from the environment once, when it is imported."""
    is_first = "trackio" not in sys.modules
    folder = tmp_path_factory.mktemp("trackio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        library("trackio")
        assert is_first
        yield folder


def test_trackio_keeps_what_was_recorded(trackio_folder, capsys, tmp_path):
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    stopped(tmp_path / "run", "trackio")
    run = train(tiny_experiment(), tmp_path / "run", device="cpu", track="trackio")
    name = noted(run.path)["trackio"]["record"]
    assert list(trackio_folder.glob("interp.db"))
    (record,) = [run for run in trackio.Api().runs("interp") if run.name == name]
    rows = SQLiteStorage.get_logs("interp", name, run_id=record.id)
    logged = [(row["step"], row["train/loss"]) for row in rows]
    recorded = read_metrics(run.path / "metrics.jsonl")
    assert logged == [(row["step"], row["train.loss"]) for row in recorded]
    assert record.config is not None
    assert record.config["task.p"] == 7
    assert SQLiteStorage.get_system_logs("interp", name) == []
    assert capsys.readouterr().out == ""


def test_two_folders_of_one_name_are_two_runs_of_trackio(trackio_folder, tmp_path):
    runs = [
        train(tiny_experiment(steps=5), tmp_path / name / "run", device="cpu", track="trackio")
        for name in "ab"
    ]
    names = [noted(run.path)["trackio"]["record"] for run in runs]
    assert len(set(names)) == 2
    assert all(name.startswith("run-") for name in names)


def wandb_records(folder):
    """Records of an offline run's file, whose layout is that of LevelDB's logs."""
    Record = library("wandb.proto.wandb_internal_pb2").Record
    (file,) = folder.glob("run-*.wandb")
    content, at, parts, records = file.read_bytes(), 7, b"", []
    while at < len(content):
        left = 2**15 - at % 2**15  # a block ends in what is too short for a record
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(parts))
            parts = b""
    return records


def test_wandb_keeps_offline_what_was_recorded(monkeypatch, tmp_path):
    wandb = library("wandb")
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    stopped(tmp_path / "run", "wandb")
    run = train(tiny_experiment(), tmp_path / "run", device="cpu", track="wandb")
    wandb.teardown()  # its service may still be writing
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    identity = noted(run.path)["wandb"]["record"]
    assert [folder.name.rpartition("-")[2] for folder in folders] == [identity] * 2
    records = [wandb_records(folder) for folder in folders]
    rows = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in history}
        for part in records
        for history in [record.history.item for record in part if record.HasField("history")]
    ]
    recorded = read_metrics(run.path / "metrics.jsonl")
    assert [(row["_step"], row["test/accuracy"]) for row in rows] == [
        (row["step"], row["test.accuracy"]) for row in recorded
    ]
    everything = [record for part in records for record in part]
    codes = [record.exit.exit_code for record in everything if record.HasField("exit")]
    assert codes == [1, 0]
    gathered = ("stats", "environment", "output", "output_raw", "files")
    assert not [name for record in everything for name in gathered if record.HasField(name)]
    assert not [record.run.host for record in everything if record.run.host]
    texts = [file.read_bytes() for folder in folders for file in folder.glob("*.wandb")]
    here = [str(Path.cwd()), str(tmp_path), sys.executable, sys.argv[0]]
    assert not [place for place in here for text in texts if place.encode() in text]


class Client:
    """Stands in for MLflow's client, with the calls and refusals of version 3."""

    runs: dict[str, SimpleNamespace] = {}  # noqa: RUF012  # those of one server

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return f"experiment {name}"

    def create_run(self, experiment_id, run_name):
        made = SimpleNamespace(
            experiment=experiment_id, name=run_name, params={}, metrics=[], status="RUNNING"
        )
        identity = f"run {len(self.runs)}"
        self.runs[identity] = made
        return SimpleNamespace(info=SimpleNamespace(run_id=identity))

    def update_run(self, run_id, status):
        self.runs[run_id].status = status

    def log_param(self, run_id, key, value):
        assert key not in self.runs[run_id].params
        self.runs[run_id].params[key] = value

    def log_batch(self, run_id, metrics):
        assert self.runs[run_id].status == "RUNNING"
        self.runs[run_id].metrics += [(metric.key, metric.step) for metric in metrics]

    def set_terminated(self, run_id, status):
        self.runs[run_id].status = status


def test_mlflow_is_called_as_its_client_wants(monkeypatch, tmp_path):
    entities = SimpleNamespace(Metric=lambda key, value, time, step: SimpleNamespace(**locals()))
    module = SimpleNamespace(MlflowClient=Client, entities=entities)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setattr(Client, "runs", {})
    stopped(tmp_path / "run", "mlflow")
    assert Client.runs["run 0"].status == "FAILED"
    train(tiny_experiment(), tmp_path / "run", device="cpu", track="mlflow")
    (kept,) = Client.runs.values()
    assert (kept.name, kept.experiment, kept.status) == ("run", "experiment interp", "FINISHED")
    assert kept.params["task.p"] == 7
    assert [step for name, step in kept.metrics if name == "train/loss"] == STEPS


def test_mlflow_keeps_what_was_recorded(monkeypatch, tmp_path):
    mlflow = library("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    stopped(tmp_path / "run", "mlflow")
    run = train(tiny_experiment(), tmp_path / "run", device="cpu", track="mlflow")
    client, identity = mlflow.MlflowClient(), noted(run.path)["mlflow"]["record"]
    history = client.get_metric_history(identity, "train/loss")
    recorded = read_metrics(run.path / "metrics.jsonl")
    assert [(metric.step, metric.value) for metric in history] == [
        (row["step"], row["train.loss"]) for row in recorded
    ]
    kept = client.get_run(identity)
    assert (kept.info.status, kept.data.params["task.p"]) == ("FINISHED", "7")
    assert not [tag for tag in kept.data.tags if tag != "mlflow.runName"]
