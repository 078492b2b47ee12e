"""Templates: what is written works as it stands, and nothing that is there is overwritten."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w
import torch

import interp
from interp.cli import commands
from interp.config.experiment import Experiment
from interp.randomness import generator
from interp.templates import TaskKind, write_template
from tests.interp.own.files import in_another_process

KINDS: dict[str, TaskKind] = {
    "largest": "one-answer",
    "SortedDigits": "several-answers",
    "look_up": "endless",
    "quadrant": "inputs",
}
# The test accuracy that the experiment of each states.
STATED = {
    "largest": 0.99,
    "sorted_digits": 0.99,
    "look_up": 0.99,
    "quadrant": 0.95,
    "bag_of_tokens": 0.99,
}


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every template under a name of its own."""
    folder = tmp_path_factory.mktemp("generated")
    for name, kind in KINDS.items():
        write_template("task", name, kind, folder)
    write_template("model", "BagOfTokens", folder=folder)
    write_template("analysis", "answer_lead", folder=folder)
    return folder


def shortened(folder: Path, name: str) -> Experiment:
    """The experiment of a template, for 4 updates."""
    table = tomllib.loads((folder / f"{name}.toml").read_text("utf-8"))
    table["training"] |= {"steps": 4, "batch_size": 16}
    table["training"] |= {"evaluate": {"every": 2}, "checkpoints": {"every": 4}}
    (folder / f"{name}_short.toml").write_text(tomli_w.dumps(table), "utf-8")
    return interp.load_experiment(folder / f"{name}_short.toml")


def call(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["interp", *arguments])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


def test_the_tests_of_every_template_pass(generated):
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=generated,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-3000:]
    assert "28 passed" in said.stdout


@pytest.mark.parametrize("name", STATED)
def test_a_template_trains_is_measured_and_reported(name, generated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    interp.train(shortened(generated, name), "run", device="cpu")
    in_another_process(monkeypatch)
    run = interp.load(Path("run").resolve())
    monkeypatch.chdir(generated)
    asked = ["answer_lead.py:AnswerLead", "WeightNorms", "ExampleViews"]
    measured = {outcome.name: outcome.measured for outcome in interp.analyze(run, asked)}
    has_views = name not in ("quadrant", "bag_of_tokens")  # of attention to tokens
    assert measured == {"AnswerLead": 2, "WeightNorms": 2, "ExampleViews": 2 * has_views}
    interp.report([run], tmp_path / "report")
    page = (tmp_path / "report" / "runs" / "run.html").read_text()
    assert "The right answer leads by" in page


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), STATED.items())
@pytest.mark.parametrize("seed", [0, 1])
def test_a_template_reaches_the_accuracy_that_it_states(name, accuracy, seed, generated, tmp_path):
    file = generated / f"{name}.toml"
    assert f"reaches {accuracy} in seconds" in file.read_text("utf-8").splitlines()[0]
    run = interp.train(interp.load_experiment(file).with_seed(seed), tmp_path / "run", device="cpu")
    metrics = run.recorded_metrics()
    assert metrics is not None
    assert metrics["test.accuracy"].iloc[-1] >= accuracy


@pytest.mark.slow
@pytest.mark.parametrize("name", STATED)
def test_no_analysis_that_applies_refuses_a_template(name, generated, tmp_path):
    run = interp.train(shortened(generated, name), tmp_path / "run", device="cpu")
    outcomes = interp.analyze(run)
    assert sum(outcome.applies for outcome in outcomes) >= 4
    assert not [outcome for outcome in outcomes if outcome.applies and not outcome.measured]


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("largest", 0), ("sorted_digits", 0), ("look_up", 0.03), ("quadrant", 0.03)],
)
def test_chance_is_what_the_best_constant_answer_gets(name, tolerance, generated):
    task = interp.load_experiment(generated / f"{name}.toml").task
    examples = task.examples(task.splits[0], None, 0)
    places = examples.scored[0].nonzero()[:, 0]
    best = torch.stack([examples.targets[:, place].bincount().max() for place in places])
    share = float(best.sum()) / (len(examples) * len(places))
    assert task.facts.chance == pytest.approx(share, abs=tolerance + 1e-12)


@pytest.mark.parametrize("name", ["largest", "sorted_digits", "look_up", "quadrant"])
def test_a_count_and_a_seed_decide_the_examples(name, generated):
    task = interp.load_experiment(generated / f"{name}.toml").task
    few = task.examples("test", 20, 5)
    assert len(few) == 20
    assert torch.equal(few.model_inputs, task.examples("test", 20, 5).model_inputs)
    assert not torch.equal(few.model_inputs, task.examples("test", 20, 6).model_inputs)
    whole = {str(row) for row in task.examples("test", None, 5).model_inputs.tolist()}
    assert {str(row) for row in few.model_inputs.tolist()} <= whole


def test_endless_prompts_of_training_are_not_those_of_the_test(generated):
    task = interp.load_experiment(generated / "look_up.toml").task
    trained = task.data(1000, generator(0, 0, 0))["tokens"]
    assert not torch.equal(trained, task.examples("test", 1000, 0).model_inputs)
    table = (generated / "look_up.toml").read_text("utf-8").replace("batch_size = 128\n", "")
    (generated / "no_batch.toml").write_text(table, "utf-8")
    with pytest.raises(ValueError, match=r"this task's data are endless: give training.batch_size"):
        interp.load_experiment(generated / "no_batch.toml")


@pytest.mark.parametrize(
    ("name", "stem", "class_name"),
    [
        ("largest", "largest", "Largest"),
        ("SortedDigits", "sorted_digits", "SortedDigits"),
        ("sorted_digits", "sorted_digits", "SortedDigits"),
        ("XORTask", "xor_task", "XORTask"),
        ("copy2", "copy2", "Copy2"),
    ],
)
def test_a_name_is_a_files_and_a_class(name, stem, class_name, tmp_path):
    files = write_template("task", name, folder=tmp_path)
    assert [file.name for file in files] == [f"{stem}.py", f"{stem}.toml", f"test_{stem}.py"]
    assert f"class {class_name}(Task):" in files[0].read_text("utf-8")
    assert f'name = "{stem}.py:{class_name}"' in files[1].read_text("utf-8")
    assert "my_task" not in "".join(file.read_text("utf-8").lower() for file in files)


REFUSED = {
    ("task", "x-y"): "'x-y' cannot name a class: take up to 60 letters, digits and _, a letter",
    ("task", "3d"): "'3d' cannot name a class",
    ("task", ""): "'' cannot name a class",
    ("task", "../x"): r"'../x' cannot name a class",
    ("task", "größe"): "'größe' cannot name a class",
    ("task", "_x"): "'_x' cannot name a class",
    ("task", "a" * 61): "cannot name a class",
    ("task", "class"): "'class' is a word of Python's own: take another name",
    ("task", "true"): "'true' is a word of Python's own",
    ("task", "json"): "json.py would hide the module json: take another name",
    ("task", "torch"): "torch.py would hide the module torch",
    ("task", "interp"): "interp.py would hide the module interp",
    ("task", "TestSplit"): "pytest takes a class TestSplit for a test: take another name",
    ("task", "test_split"): "pytest takes a class TestSplit for a test",
    ("task", "Task"): "the file uses the name Task already: take another name",
    ("task", "tensor"): "the file uses the name Tensor already",
    ("model", "own_config"): "the file uses the name OwnConfig already",
    ("model", "value_error"): "the file uses the name ValueError already",
    ("analysis", "grokking_phases"): "there is an analysis GrokkingPhases already: take another",
}


@pytest.mark.parametrize(("thing", "name"), REFUSED)
def test_a_name_that_stands_for_something_else_is_refused(thing, name, tmp_path):
    with pytest.raises(ValueError, match=REFUSED[thing, name]):
        write_template(thing, name, folder=tmp_path)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["largest.py", "largest.toml", "test_largest.py"])
def test_a_file_that_is_there_is_not_overwritten(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{name} is there already: take another name"):
        write_template("task", "Largest", folder=tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {name: "mine"}


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path):
    (tmp_path / "largest.toml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match=r"largest.toml is there already"):
        write_template("task", "Largest", folder=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["largest.toml"]


def test_what_cannot_be_written_whole_leaves_nothing(tmp_path, monkeypatch):
    opened = Path.open

    def full(path, mode="r", **options):
        if mode == "x" and path.suffix == ".toml":
            raise OSError(28, "No space left on device")
        return opened(path, mode, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        write_template("task", "Largest", folder=tmp_path)
    assert [*tmp_path.iterdir()] == []


NEXT = {
    ("task", "SortedDigits", "--kind", "several-answers"): """\
wrote sorted_digits.py, sorted_digits.toml, test_sorted_digits.py; go on with
  python -m pytest test_sorted_digits.py
  interp train sorted_digits.toml
  interp analyze runs/sorted_digits-s0
  interp report runs/sorted_digits-s0
""",
    ("model", "wide"): """\
wrote wide.py, wide.toml, test_wide.py; go on with
  python -m pytest test_wide.py
  interp train wide.toml
  interp analyze runs/wide-s0
  interp report runs/wide-s0
""",
    ("analysis", "AnswerLead"): """\
wrote answer_lead.py, test_answer_lead.py; go on with
  python -m pytest test_answer_lead.py
  interp analyze RUN --only answer_lead.py:AnswerLead
  interp report RUN
""",
}


@pytest.mark.parametrize("words", NEXT, ids=" ".join)
def test_the_command_says_what_it_wrote_and_how_to_go_on(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, capsys, "new", *words) == (0, NEXT[words], "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("analysis", "a", "--kind", "endless"), "--kind is of tasks: leave it out for a new"),
        (("task", "a", "--kind", "many"), "'many' is not one of 'one-answer'"),
        (("tusk", "a"), "'tusk' is not one of 'task', 'analysis', 'model'"),
        (("task", "x-y"), "'x-y' cannot name a class"),
    ],
)
def test_the_command_refuses_in_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, printed, said = call(monkeypatch, capsys, "new", *words)
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert message in said
    assert [*tmp_path.iterdir()] == []
