"""Tasks and models of a user's own, from her file to a run, and back from the run's folder."""

import json
import os
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import interp
from interp.config.experiment import Experiment, read_toml
from interp.sweeps.definition import Sweep, load_sweep, sweep_of_seeds
from interp.tasks.base import MissingTask
from interp.tasks.data_files import KEPT
from tests.interp.own.files import in_another_process, mark_imports, write_files, write_toml


def edit(file: Path) -> None:
    """Another answer: the smallest digit."""
    text = file.read_text()
    assert "tokens.amax(1)" in text
    file.write_text(text.replace("tokens.amax(1)", "tokens.amin(1)"))


def test_a_path_is_taken_from_the_folder_of_the_experiments_file(mine, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = interp.train(interp.load_experiment(mine / "own.toml"), Path("run"), device="cpu")
    assert run.experiment.task.name == f"{mine / 'largest.py'}:Largest"
    monkeypatch.chdir(tmp_path)
    in_another_process(monkeypatch)
    loaded = interp.load(tmp_path / "elsewhere" / "run")
    assert loaded.snapshot().examples.label("largest").max() == 3
    assert (loaded.steps, type(loaded.experiment.task).__name__) == ((0, 4), "Largest")


def test_an_own_task_and_an_own_model_train_together(mine, tmp_path, monkeypatch, command):
    write_toml(mine / "both.toml", model={"kind": "bag_of_tokens.py:BagOfTokens", "d_model": 4})
    text = read_toml(mine / "both.toml")
    text["model"] = {"kind": "bag_of_tokens.py:BagOfTokens", "d_model": 4}
    (mine / "both.toml").write_text(tomli_w.dumps(text))
    assert command("train", mine / "both.toml", "--out", tmp_path / "run")[0] == 0
    in_another_process(monkeypatch)
    run = interp.load(tmp_path / "run")
    assert run.model().cfg.config.kind == f"{mine / 'bag_of_tokens.py'}:BagOfTokens"
    assert run.snapshot().cache("hook_sum")["hook_sum"].shape == (16, 2, 4)
    code, printed, said = command("analyze", run.path)
    assert (code, said) == (0, "")
    assert "WeightNorms: 2 measured" in printed
    assert command("report", run.path, "--out", tmp_path / "report")[0] == 0
    page = (tmp_path / "report" / "runs" / "run.html").read_text()
    assert "BagOfTokens" in page


def test_a_training_that_was_stopped_goes_on_and_ends_in_the_same_weights(mine, own_run, tmp_path):
    def stop(row: dict[str, float], end: int) -> None:
        if row["step"] == 2:
            raise KeyboardInterrupt

    experiment = interp.load_experiment(mine / "own.toml")
    with pytest.raises(KeyboardInterrupt):
        interp.train(experiment, tmp_path / "stopped", device="cpu", on_evaluate=stop)
    run = interp.train(experiment, tmp_path / "stopped", device="cpu")
    assert run.checkpoint(4).read_bytes() == own_run.checkpoint(4).read_bytes()


def test_a_module_on_pythons_path_is_found_from_anywhere(mine, tmp_path, monkeypatch):
    package = tmp_path / "path" / "ownpackage"
    shutil.copytree(mine, package)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(package.parent)
    file = write_toml(tmp_path / "by_module.toml", task={"name": "ownpackage.largest:Largest"})
    run = interp.train(interp.load_experiment(file), tmp_path / "run", device="cpu")
    in_another_process(monkeypatch)
    task = interp.load(run.path).experiment.task
    assert (task.name, type(task).__name__) == ("ownpackage.largest:Largest", "Largest")
    edit(package / "largest.py")
    in_another_process(monkeypatch)
    assert isinstance(interp.load(run.path).experiment.task, MissingTask)


WRONG = {
    "largest.py:Smallest": "task: .*largest.py has no class Smallest",
    "larger.py:Largest": "task: .*larger.py does not exist",
    "bag_of_tokens.py:BagOfTokens": "task: .*bag_of_tokens.py:BagOfTokens is no Task",
    "broken.py:Broken": r"task: .*broken.py cannot be imported: SyntaxError",
    "no.such.module:Task": "task: no.such.module cannot be imported: ModuleNotFoundError",
    "interp.tasks.base:MissingTask": "task: interp.tasks.base:MissingTask is itself no task: name",
    "interp.tasks.base:Task": "task: interp.tasks.base:Task is itself no task: name a class of",
    "named.py:Named": "task: Named has the name 'named', its own or that of a task it",
}


@pytest.mark.parametrize(("name", "message"), WRONG.items())
def test_a_wrong_reference_is_refused_by_field_and_file(name, message, mine, command):
    (mine / "broken.py").write_text("class Broken(:\n")
    (mine / "named.py").write_text(
        "from interp.tasks import Task\nclass Named(Task):\n    name: str = 'named'\n"
    )
    write_toml(mine / "wrong.toml", task={"name": name})
    code, printed, said = command("train", mine / "wrong.toml", "--out", mine / "run")
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert re.match(rf"interp: {re.escape(str(mine / 'wrong.toml'))}: {message}", said), said
    assert not (mine / "run").exists()


def test_a_wrong_field_of_an_own_task_is_refused_by_name(mine, command):
    write_toml(mine / "wrong.toml", task={"name": "largest.py:Largest", "n": 99})
    code, _, said = command("train", mine / "wrong.toml")
    assert (code, "task.n: Input should be less than or equal to 6 (got 99)" in said) == (2, True)


def test_a_model_of_a_wrong_kind_is_refused_by_field(mine, command):
    write_toml(mine / "wrong.toml", model={"kind": "largest.py:Largest"})
    code, _, said = command("train", mine / "wrong.toml")
    assert (code, "largest.py:Largest is no OwnConfig" in said) == (2, True)


@pytest.mark.parametrize("name", ["MissingConfig", "OwnConfig"])
def test_what_only_stands_for_a_model_is_refused(name, mine, own_run, command):
    reference = f"hooks.models.base:{name}"
    write_toml(mine / "wrong.toml", model={"kind": reference})
    code, _, said = command("train", mine / "wrong.toml", "--out", mine / "run")
    message = f"{reference} is itself no model: name a class of your own"
    assert (code, f"model: {message}" in said) == (2, True)
    file = own_run.path / "experiment.toml"
    file.write_text(file.read_text().replace('kind = "token"', f'kind = "{reference}"'))
    assert message in interp.load_experiment(file).missing


def test_an_edited_task_is_not_imported_for_a_run(own_run, mine, monkeypatch, command):
    edit(mine / "largest.py")
    marker = mark_imports(mine / "largest.py")
    in_another_process(monkeypatch)
    run = interp.load(own_run.path)
    assert isinstance(run.experiment.task, MissingTask)
    code, _, said = command("analyze", run.path)
    assert (code, f"{mine / 'largest.py'} holds a class that a folder names" in said) == (2, True)
    assert "--trust" in said
    assert not marker.exists()


def test_trust_imports_an_edited_task_and_refuses_to_measure_with_it(
    own_run, mine, monkeypatch, command
):
    edit(mine / "largest.py")
    in_another_process(monkeypatch)
    code, _, said = command("analyze", own_run.path, "--trust")
    assert (code, "has changed since the run" in said) == (2, True)
    assert "put the earlier file back, or train in a new folder" in said
    run = interp.load(own_run.path, trust=True)
    assert type(run.experiment.task).__name__ == "Largest"
    with pytest.raises(ValueError, match=r"largest.py.* has changed since the run"):
        run.snapshot()


def test_an_edited_task_does_not_go_on_training_the_run(own_run, mine, monkeypatch, command):
    edit(mine / "largest.py")
    in_another_process(monkeypatch)
    code, _, said = command("train", mine / "own.toml", "--out", own_run.path)
    assert (code, "largest.py:Largest has changed since the run" in said) == (2, True)


@pytest.mark.parametrize("is_measured", [True, False])
@pytest.mark.parametrize("what", ["deleted", "class gone", "broken"])
def test_a_run_whose_class_is_missing_loads_what_it_holds(
    what, is_measured, own_run, mine, tmp_path, monkeypatch, command
):
    if is_measured:
        interp.analyze(own_run, ["WeightNorms"])
    weights = dict(own_run.parameters(4))
    file = mine / "largest.py"
    if what == "deleted":
        file.unlink()
    else:
        file.write_text("class Largest(:\n" if what == "broken" else "value = 1\n")
    in_another_process(monkeypatch)
    run = interp.load(own_run.path, trust=what != "deleted")
    assert run.steps == (0, 4)
    assert all((weights[name] == values).all() for name, values in run.parameters(4).items())
    metrics = run.recorded_metrics()
    assert metrics is not None
    assert metrics["step"].tolist() == [0, 2, 4]
    why = "does not exist" if what == "deleted" else "has changed since the run"
    with pytest.raises(ValueError, match=f"largest.py.* {why}"):
        run.snapshot()
    with pytest.raises(ValueError, match=f"largest.py.* {why}"):
        run.model()
    code, _, said = command("report", run.path, "--out", tmp_path / "report")
    assert (code, "nothing can say whether saved results hold" in said) == (0, is_measured)
    page = (tmp_path / "report" / "runs" / "run.html").read_text()
    words = {
        "deleted": "does not exist",
        "class gone": "has no class",
        "broken": "cannot be imported",
    }
    assert "Accuracy over training" in page
    assert f"task.name: {mine / 'largest.py'} {words[what]}" in page


def test_a_file_that_was_moved_is_asked_for_by_its_old_place(own_run, mine, monkeypatch, command):
    shutil.move(mine, mine.with_name("moved"))
    in_another_process(monkeypatch)
    code, _, said = command("show", own_run.path, "--out", mine.parent / "page.html")
    assert (code, said.count("\n")) == (2, 1)
    assert f"{mine / 'largest.py'} does not exist" in said


REFERENCES = {"by path": "{file}:Largest", "by module": "ownpackage.largest:Largest"}
UNTRUSTED = re.compile(r"was not imported for you before|has changed since the run")
COMMANDS = {
    "analyze": "analyze {run}",
    "report": "report {run} --out {out}",
    "show": "show {run} --out {out}",
    "train": "train {run}/experiment.toml --out {out}",
    "train again": "train {run}/experiment.toml --out {run}",
    "sweep": "sweep {sweep}/sweep.toml --out {out}",
    "sweep again": "sweep {sweep}/sweep.toml --out {sweep}",
    "sweep planned": "sweep {sweep}/sweep.toml --out {out} --dry-run",
    "analyze sweep": "analyze {sweep}",
    "report sweep": "report {sweep} --out {out}",
}


@pytest.fixture
def downloaded(own_run, mine, tmp_path, monkeypatch):
    """Run and sweep of somebody else's that name a file whose import can be seen."""
    sweep = sweep_of_seeds(interp.load_experiment(mine / "own.toml"), 1)
    interp.train_sweep(sweep, tmp_path / "sweep", workers=1, device="cpu")
    package = tmp_path / "path" / "ownpackage"
    shutil.copytree(mine, package)
    (package / "__init__.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'imported')!r}).touch()\n"
    )
    with (package / "largest.py").open("a") as file:
        file.write((package / "__init__.py").read_text())
    monkeypatch.syspath_prepend(package.parent)
    in_another_process(monkeypatch, tmp_path / "state of another")

    def naming(reference: str) -> Path:
        name = reference.format(file=package / "largest.py")
        (run_of_sweep,) = (tmp_path / "sweep").glob("*/experiment.toml")
        for file in (own_run.path / "experiment.toml", run_of_sweep, tmp_path / "sweep/sweep.toml"):
            text = file.read_text()
            assert f"{mine / 'largest.py'}:Largest" in text
            file.write_text(text.replace(f"{mine / 'largest.py'}:Largest", name))
        (folder,) = load_sweep(tmp_path / "sweep" / "sweep.toml", KEPT).experiments()
        run_of_sweep.parent.rename(tmp_path / "sweep" / folder)
        return package

    return naming


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
def test_what_was_downloaded_imports_nothing(
    reference, words, downloaded, own_run, tmp_path, command
):
    downloaded(reference)
    places = {"run": own_run.path, "sweep": tmp_path / "sweep", "out": tmp_path / "out"}
    code, _, said = command(*words.format(**places).split(" "))
    assert not (tmp_path / "imported").exists(), said
    if not words.startswith("report"):
        assert code == 2, said
        assert UNTRUSTED.search(said)
    record = Path(os.environ["XDG_STATE_HOME"]) / "interp" / "trusted.txt"
    assert not record.exists(), record.read_text()


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
def test_loading_what_was_downloaded_imports_nothing(
    reference, downloaded, own_run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    downloaded(reference)
    run = interp.load(own_run.path)
    assert isinstance(run.experiment.task, MissingTask)
    assert interp.load_experiment(run.path / "experiment.toml").missing
    with pytest.raises(ValueError, match=UNTRUSTED):
        run.snapshot()
    assert not (tmp_path / "imported").exists()


def test_trust_trains_what_was_downloaded(downloaded, own_run, tmp_path, command):
    downloaded(REFERENCES["by path"])
    train = ("train", own_run.path / "experiment.toml", "--out", tmp_path / "out", "--trust")
    assert command(*train)[0] == 0
    sweep = ("sweep", tmp_path / "sweep" / "sweep.toml", "--out", tmp_path / "new", "--trust")
    assert command(*sweep, "--workers", 1)[0] == 0


def test_trust_imports_what_was_downloaded(downloaded, own_run, tmp_path, command):
    package = downloaded(REFERENCES["by path"])
    hashes = own_run.path / "data_files.json"
    hashes.write_text(json.dumps({}))
    code, _, said = command("analyze", own_run.path, "--trust")
    assert (code, "largest.py:Largest has changed since the run" in said) == (2, True)
    hashes.unlink()
    code, printed, said = command("analyze", own_run.path, "--trust")
    assert (code, said, "WeightNorms: 2 measured" in printed) == (0, "", True)
    assert (package.parent.parent / "imported").exists()
    assert command("analyze", own_run.path)[0] == 0  # written down: the same file needs no more


def test_where_trust_cannot_be_written_down_training_warns_and_works(
    mine, tmp_path, monkeypatch, command
):
    (tmp_path / "no folder").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "no folder"))
    code, printed, said = command("train", mine / "own.toml", "--out", tmp_path / "run")
    assert (code, f"trained {tmp_path / 'run'}" in printed) == (0, True)
    assert "set XDG_STATE_HOME to a folder that can be" in said
    in_another_process(monkeypatch)
    assert command("analyze", tmp_path / "run")[0] == 2
    assert command("analyze", tmp_path / "run", "--trust")[0] == 0


def test_seeds_train_an_own_task_in_stacks(mine, tmp_path, command, monkeypatch):
    code, _, said = command("train", mine / "own.toml", "--seeds", 3, "--out", tmp_path / "s")
    assert (code, said) == (0, "")
    in_another_process(monkeypatch)
    code, printed, _ = command("analyze", tmp_path / "s", "--only", "WeightNorms")
    assert (code, "WeightNorms: 6 measured" in printed) == (0, True)


@pytest.mark.parametrize("is_written_down", [True, False])
def test_a_sweep_trains_an_own_task_with_two_workers(
    is_written_down, mine, tmp_path, monkeypatch, command
):
    if not is_written_down:
        (tmp_path / "no folder").touch()
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "no folder"))
    (mine / "vary.toml").write_text(
        'base = "own.toml"\nseeds = 1\nmode = "grid"\n[vary]\n"task.base" = [3, 4]\n'
    )
    monkeypatch.chdir(tmp_path)
    command_line = ("sweep", mine / "vary.toml", "--out", "swept", "--workers", 2)
    code, printed, said = command(*command_line)
    assert code == 0, said
    assert "trained swept: 2 runs" in printed
    in_another_process(monkeypatch)
    assert command(*command_line)[0] == 0  # nothing is left to be done
    if is_written_down:
        code, printed, _ = command("analyze", "swept", "--only", "WeightNorms")
        assert (code, "WeightNorms: 4 measured" in printed) == (0, True)
        assert command("report", "swept", "--out", "report")[0] == 0


def test_a_class_of_a_notebook_is_trained_measured_and_named(mine, tmp_path, monkeypatch):
    main = sys.modules["__main__"]
    code = (mine / "largest.py").read_text()
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, "<cell>", "exec"), space)
    monkeypatch.setattr(main, "Largest", space["Largest"], raising=False)
    monkeypatch.delattr(main, "__file__", raising=False)  # as in a notebook
    task = space["Largest"](n=2, base=4)
    table = interp.load_experiment(mine / "own.toml").model_dump(exclude={"task"})
    experiment = Experiment.model_validate(table | {"task": task})
    run = interp.train(experiment, tmp_path / "run", device="cpu")
    assert run.experiment.task.name == "__main__:Largest"
    assert run.snapshot().examples.label("largest").max() == 3
    monkeypatch.delattr(main, "Largest")
    with pytest.raises(ValueError, match="__main__ has no class Largest"):
        interp.load(run.path).snapshot()
    assert interp.load(run.path).steps == (0, 4)


def test_a_class_that_was_imported_as_a_module_is_named_by_its_file(mine, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(mine)
    cls = import_module("largest").Largest
    table = interp.load_experiment(mine / "own.toml").model_dump(exclude={"task"})
    monkeypatch.setattr("hooks.own_classes._trusted", set())  # no TOML file has named it
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    experiment = Experiment.model_validate(table | {"task": cls(n=2, base=4)})
    sweep = Sweep.model_validate(
        {"name": "s", "base": experiment, "vary": {"task.base": [3, 4]}, "seeds": 1}
    )
    interp.train_sweep(sweep, tmp_path / "s", workers=1, device="cpu")
    run = interp.train(experiment, tmp_path / "run", device="cpu")
    in_another_process(monkeypatch)
    assert run.experiment.task.name == f"{mine / 'largest.py'}:Largest"
    assert interp.load(run.path).snapshot().examples.label("largest").max() == 3
    assert len(interp.finished_runs(tmp_path / "s").runs) == 2


def test_an_own_task_stands_in_a_training_schedule(mine, tmp_path, monkeypatch, command):
    write_files(tmp_path / "b")
    edit(tmp_path / "b" / "largest.py")
    other = f"{tmp_path / 'b' / 'largest.py'}:Largest"
    phases = [
        {"steps": 2, "tasks": [{"name": other, "n": 2, "base": 4}]},
        {"steps": 2, "tasks": [{}]},
    ]
    file = write_toml(mine / "schedule.toml", training={"schedule": phases})
    assert command("train", file, "--out", tmp_path / "run")[0] == 0
    in_another_process(monkeypatch)
    run = interp.load(tmp_path / "run")
    assert run.experiment.own_classes == {
        "task.name": f"{mine / 'largest.py'}:Largest",
        "training.schedule.0.tasks.0.name": other,
        "training.schedule.1.tasks.0.name": f"{mine / 'largest.py'}:Largest",
    }
    assert run.snapshot().examples.label("largest").max() == 3
    edit_back = (tmp_path / "b" / "largest.py").read_text() + "\n"
    (tmp_path / "b" / "largest.py").write_text(edit_back)
    in_another_process(monkeypatch)
    record = Path(os.environ["XDG_STATE_HOME"]) / "interp" / "trusted.txt"
    trusted = record.read_text()
    code, _, said = command("train", run.path / "experiment.toml", "--out", tmp_path / "new")
    assert (code, "b/largest.py holds a class that a folder names" in said) == (2, True)
    assert not (tmp_path / "new").exists()
    assert record.read_text() == trusted
    code, _, said = command("analyze", run.path, "--trust")
    assert (code, "training.schedule.0.tasks.0.name" in said) == (2, True)


def test_a_sweep_whose_class_is_missing_is_reported_with_its_runs(mine, tmp_path, command):
    assert command("train", mine / "own.toml", "--seeds", 2, "--out", tmp_path / "s")[0] == 0
    (mine / "largest.py").unlink()
    code, _, said = command("report", tmp_path / "s", "--out", tmp_path / "report")
    assert (code, said) == (0, "")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Largest" in page
    assert all(folder.name in page for folder in (tmp_path / "s").glob("s?-*"))


def test_padded_examples_are_refused_unless_the_own_model_says_it_is_causal(mine, command):
    rows = [{"tokens": [1, 2, 3][:n], "targets": [0] * n} for n in (2, 3)]
    lines = [json.dumps({**row, "split": "train"}) for row in rows * 2]
    (mine / "rows.jsonl").write_text("\n".join(lines))
    table = read_toml(mine / "own.toml")
    table["task"] = {"name": "examples", "file": "rows.jsonl"}
    table["model"] = {"kind": "bag_of_tokens.py:BagOfTokens", "d_model": 4}
    (mine / "padded.toml").write_text(tomli_w.dumps(table))
    interp.load_experiment(mine / "padded.toml")
    model = (mine / "bag_of_tokens.py").read_text()
    line = '    attention_dir: Literal["causal", "bidirectional"] = "causal"\n'
    assert line in model
    (mine / "bag_of_tokens.py").write_text(model.replace(line, ""))
    code, _, said = command("train", mine / "padded.toml", "--out", mine / "run")
    assert (code, "this model is not causal" in said) == (2, True)


def test_probes_of_a_model_without_usual_hook_points_are_not_measured_unasked(mine, command):
    model = mine / "bag_of_tokens.py"
    model.write_text(model.read_text().replace("hook_embed", "hook_pattern"))
    table = read_toml(mine / "own.toml")
    table["model"] = {"kind": "bag_of_tokens.py:BagOfTokens", "d_model": 4}
    (mine / "patterns.toml").write_text(tomli_w.dumps(table))
    run = mine / "run"
    assert command("train", mine / "patterns.toml", "--out", run)[0] == 0
    code, printed, said = command("analyze", run, "--why")
    assert (code, said) == (0, "")
    assert "WeightNorms: 2 measured" in printed
    assert (
        "ProbeAccuracy: unasked, needs a model with one of the hook points hook_embed," in printed
    )
    code, _, said = command("analyze", run, "--only", "ProbeAccuracy")
    assert (code, "name some of this model's hook points: hook_pattern" in said) == (2, True)
