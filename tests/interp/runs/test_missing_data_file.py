"""A run whose data file is gone: weights, metrics and page load, the rest says what is gone."""

from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch

import interp
from hooks.models import parameters_of
from interp.cli import commands
from interp.config import Experiment
from interp.measure.analyze import analyze
from interp.pages import write_report
from interp.runs.run import Run
from interp.tasks.base import MissingTask
from tests.planted import random_model, tokens_as_examples

PAIRS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))
GONE = r"task: the task's data file .*examples\.npz does not exist; .* beside the run's experiment"


@pytest.fixture
def saved(tmp_path):
    """A measured run without its examples."""
    model, rows = random_model(), [{"step": 0, "train.loss": 2.0}, {"step": 5, "train.loss": 1.0}]
    states = {step: parameters_of(model) for step in (0, 5)}
    examples = tokens_as_examples(PAIRS)
    run = interp.save_run(tmp_path / "run", model, states, examples, metrics=rows)
    analyze(run, ["WeightNorms"])
    (run.path / "examples.npz").rename(tmp_path / "kept.npz")
    return interp.load(run.path)


def test_weights_and_metrics_load(saved):
    assert saved.weights("W_E").shape[0] == 2
    assert saved.metrics["train.loss"].tolist() == [2.0, 1.0]
    assert saved.config.kind == "token"
    task = saved.experiment.task
    assert (type(task), task.name) == (MissingTask, "examples")
    assert 'file = "examples.npz"' in saved.stated.to_toml()


def test_whatever_needs_the_file_says_that_it_is_gone(saved):
    with pytest.raises(ValueError, match=GONE):
        saved.sizes  # noqa: B018  # which raises
    for call in (saved.snapshot, saved.examples, lambda: saved.result("WeightNorms"), saved.basis):
        with pytest.raises((ValueError, FileNotFoundError), match=GONE):
            call()


def test_the_page_shows_curves_and_says_what_is_gone(saved, tmp_path):
    with pytest.warns(UserWarning, match=GONE):
        index = write_report([saved], tmp_path / "report")
    page = (index.parent / "runs" / "run.html").read_text()
    assert "Loss (train) over training" in page
    assert "nothing can say whether it holds: task: the task&#39;s data file" in page


def test_a_file_that_is_put_back_is_read(saved, tmp_path):
    with pytest.warns(UserWarning, match=GONE):
        write_report([saved], tmp_path / "report")
    (tmp_path / "kept.npz").rename(saved.path / "examples.npz")
    run = interp.load(saved.path)
    assert len(run.snapshot().examples) == 49
    assert run.result("WeightNorms").summary()
    index = write_report([run], tmp_path / "report")
    assert "does not exist" not in (index.parent / "runs" / "run.html").read_text()


def test_analyze_ends_with_one_line(saved, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["interp", "analyze", str(saved.path)])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    said = capsys.readouterr().err
    assert (stopped.value.code, said.count("\n")) == (2, 1)
    assert "examples.npz does not exist" in said


def images_file(folder: Path) -> Path:
    factors = np.stack(np.meshgrid(*[np.arange(3)] * 2), axis=-1).reshape(-1, 2)
    file = folder / "images.npz"
    np.savez(file, embeddings=np.eye(9, dtype=np.float32), factors=factors)
    return file


def lines_files(folder: Path) -> dict[str, str]:
    files = {name: folder / f"{name}.txt" for name in ("train", "validation", "generalization")}
    for file in files.values():
        file.write_text("(a a) END\n(a (a a) a) END\n")
    return {name: str(file) for name, file in files.items()}


@pytest.mark.parametrize("name", ["factor_labels", "dyck"])
def test_a_run_of_any_task_with_files_loads_without_them(name, tmp_path):
    task = (
        {"name": name, "file": str(images_file(tmp_path)), "pairs": 2}
        if name == "factor_labels"
        else {"name": name, "k": 1, "n_ctx": 8, "files": lines_files(tmp_path)}
    )
    model = {"kind": "read_in"} if name == "factor_labels" else {}
    table = {"name": "mine", "task": task, "model": model}
    Experiment.model_validate(table)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "experiment.toml").write_text(tomli_w.dumps(table))
    assert not Run(tmp_path / "run").experiment.missing
    gone = tmp_path / ("images.npz" if name == "factor_labels" else "generalization.txt")
    gone.unlink()
    run = Run(tmp_path / "run")
    assert (type(run.experiment.task), run.experiment.task.name) == (MissingTask, name)
    assert f"task: the task's data file {gone} does not exist" in run.experiment.missing
