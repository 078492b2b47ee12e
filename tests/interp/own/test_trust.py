"""What a folder that somebody sent may make this machine do, and what became of a file since."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import interp
from interp.config import Experiment
from tests.foreign import hooked_state
from tests.interp.own.files import in_another_process, mark_imports, write_files, write_toml

COMMANDS = {
    "without checkpoints": "train {sent}/experiment.toml --out {out}",
    "by a link": "train {link} --out {out}",
    "a sweep whose base is a file": "sweep {sent}/sweep.toml --out {out}",
    "a task of an import": "import {sent}/step_1.pt --task {sent}/experiment.toml --out {out}",
    "seeds": "train {sent}/experiment.toml --seeds 2 --out {out}",
}


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """A folder of somebody else's, whose files name a class beside them."""
    folder = write_files(tmp_path / "sent").rename(tmp_path / "sent" / "experiment.toml").parent
    shutil.copy(folder / "experiment.toml", folder / "base.toml")
    (folder / "sweep.toml").write_text('base = "base.toml"\nseeds = 1\n')
    torch.save(hooked_state(), folder / "step_1.pt")
    (tmp_path / "link.toml").symlink_to(folder / "experiment.toml")
    shutil.copy(folder / "largest.py", tmp_path)
    in_another_process(monkeypatch, tmp_path / "state of another")
    return folder


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_files_of_a_folder_by_their_names_import_nothing(words, sent, tmp_path, command):
    markers = [mark_imports(sent / "largest.py"), mark_imports(tmp_path / "largest.py")]
    places = {"sent": sent, "link": tmp_path / "link.toml", "out": tmp_path / "out"}
    code, _, said = command(*words.format(**places).split(" "))
    assert (code, "was not imported for you before" in said) == (2, True), said
    assert not [marker for marker in markers if marker.exists()]
    assert not (Path(os.environ["XDG_STATE_HOME"]) / "interp" / "trusted.txt").exists()


def test_trust_imports_them(sent, tmp_path, command):
    train = ("train", sent / "experiment.toml", "--out", tmp_path / "out")
    assert command(*train, "--trust")[0] == 0
    assert command(*train)[0] == 0  # the same file, from now on


def with_helper(folder: Path, base: int) -> Path:
    """A task that takes its base from a helper beside it."""
    file = write_files(folder)
    (folder / "helper.py").write_text(f"BASE = {base}\n")
    code = (folder / "largest.py").read_text()
    shifted = code.replace("default=8", "default=helper.BASE")
    assert shifted != code
    (folder / "largest.py").write_text("import helper\n" + shifted)
    return write_toml(file, task={"name": "largest.py:Largest", "n": 2})


def without_base(file: Path) -> Path:
    file.write_text(file.read_text().replace("base = 4\n", ""))
    return file


def test_helpers_of_one_name_do_not_meet(tmp_path):
    files = [without_base(with_helper(tmp_path / name, n)) for name, n in {"a": 3, "b": 5}.items()]
    tasks = [interp.load_experiment(file).task for file in (*files, files[0])]
    assert [task.sizes.d_vocab_out for task in tasks] == [3, 5, 3]


def test_an_edited_helper_is_an_edited_task(tmp_path, monkeypatch):
    file = without_base(with_helper(tmp_path / "mine", 3))
    run = interp.train(interp.load_experiment(file), tmp_path / "run", device="cpu")
    interp.load(run.path).snapshot(count=2)
    (tmp_path / "mine" / "helper.py").write_text("BASE = 4\n")
    in_another_process(monkeypatch)
    with pytest.raises(ValueError, match=r"largest.py:Largest has changed since the run"):
        interp.load(run.path).snapshot(count=2)


def test_a_file_that_was_edited_after_it_was_imported_trains_nothing(mine, tmp_path):
    experiment = interp.load_experiment(mine / "own.toml")
    with (mine / "largest.py").open("a") as file:
        file.write("# edited\n")
    with pytest.raises(ValueError, match=r"largest.py was edited since it was imported: load the"):
        interp.train(experiment, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    interp.train(interp.load_experiment(mine / "own.toml"), tmp_path / "run", device="cpu")


def test_a_script_that_trains_its_own_class_runs_once(mine, tmp_path):
    code = (mine / "largest.py").read_text()
    (mine / "script.py").write_text(
        code + "\nimport interp\nprint('the script runs')\n"
        "e = interp.load_experiment('own.toml').model_copy(update={'task': Largest(n=2, base=4)})\n"
        "run = interp.train(e, 'run', device='cpu')\nprint(run.experiment.task.name)\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    said = subprocess.run(
        [sys.executable, "script.py"], cwd=mine, env=environment, capture_output=True, text=True
    )
    assert said.stdout.splitlines()[-2:] == ["the script runs", "__main__:Largest"], said.stderr
    assert said.stdout.count("the script runs") == 1
    assert "has no class Largest" in interp.load(mine / "run").experiment.missing


def test_two_analyses_of_one_name_are_refused(own_run, mine, tmp_path, command):
    shutil.copytree(mine, tmp_path / "other")
    first, other = (folder / "answer_lead.py:AnswerLead" for folder in (mine, tmp_path / "other"))
    code, _, said = command("analyze", own_run.path, "--only", first, "--only", other)
    assert (code, "there is an analysis AnswerLead already" in said) == (2, True)


def test_scalars_of_an_own_analysis_are_found_by_either_name(own_run, mine, monkeypatch):
    reference = str(mine / "answer_lead.py:AnswerLead")
    interp.analyze(own_run, [reference])
    assert list(own_run.scalars(reference)["step"]) == [0, 4]
    in_another_process(monkeypatch)
    assert list(own_run.scalars("AnswerLead")["step"]) == [0, 4]


def test_an_own_task_may_inherit_from_one_here(mine, tmp_path):
    (mine / "more.py").write_text(
        "from interp.tasks.modular_arithmetic import ModularArithmetic\n"
        "class More(ModularArithmetic):\n    name: str\n"
    )
    file = mine / "more.toml"
    file.write_text((mine / "own.toml").read_text().replace("largest.py:Largest", "more.py:More"))
    text = file.read_text().replace("n = 2\n", "p = 7\n").replace("base = 4\n", "")
    file.write_text(text)
    experiment = interp.load_experiment(file)
    assert isinstance(experiment, Experiment)
    assert experiment.task.sizes.d_vocab_out == 7


def test_results_of_a_class_without_text_do_not_outlive_it(mine, tmp_path, monkeypatch):
    code = (mine / "largest.py").read_text()
    kept = []
    for text in (code, code, code.replace("amax", "amin")):
        space = {"__name__": "__main__"}
        exec(compile(text, "<no file>", "exec"), space)
        monkeypatch.setattr(sys.modules["__main__"], "Largest", space["Largest"], raising=False)
        table = interp.load_experiment(mine / "own.toml").model_dump(exclude={"task"})
        task = space["Largest"](n=2, base=4)  # pyright: ignore[reportCallIssue]
        experiment = Experiment.model_validate(table | {"task": task})
        run = interp.train(experiment, tmp_path / "run", device="cpu")
        (summary,) = interp.analyze(run, ["ExampleViews"])
        (again,) = interp.analyze(run, ["ExampleViews"])
        kept += [summary.kept, again.kept]
    assert kept == [0, 2, 0, 2, 0, 2]


def test_an_edited_helper_is_imported_again(tmp_path):
    file = without_base(with_helper(tmp_path / "mine", 3))
    experiment = interp.load_experiment(file)
    helper = tmp_path / "mine" / "helper.py"
    helper.write_text("BASE = 4\n")
    os.utime(helper, (0, 0))  # Python tells texts of one length apart by the second
    with pytest.raises(ValueError, match=r"largest.py was edited since it was imported"):
        interp.train(experiment, tmp_path / "run", device="cpu")
    assert interp.load_experiment(file).task.sizes.d_vocab_out == 4


def test_a_result_is_of_the_text_that_measured_it(own_run, mine, monkeypatch):
    file = mine / "answer_lead.py"
    reference = f"{file}:AnswerLead"

    def edit(step: int) -> None:  # while the analysis is at work
        if step == own_run.steps[0]:
            file.write_text(file.read_text() + "# edited\n")

    assert interp.analyze(own_run, [reference], on_step=edit)[0].measured == 2
    in_another_process(monkeypatch)
    assert interp.analyze(own_run, [reference])[0].measured == 2  # of the edited text
    assert interp.analyze(own_run, [reference])[0].kept == 2
