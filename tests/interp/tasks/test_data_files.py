"""Files that tasks read: found from any folder, and noticed where they have changed."""

import pytest
from pydantic import TypeAdapter

from interp.config.experiment import load_experiment
from interp.importers.importing import read_task
from interp.runs.run import load
from interp.sweeps.launch import train_sweep
from interp.sweeps.sweep import find_sweep, load_sweep
from interp.tasks.data_files import KEPT, DataFile, OwnFile, taken_from
from interp.training.loop import train
from tests.interp.tasks.images import saved

LINES = {
    "train": ["(a a) (b b) END", "(a (b b) a) END", "(b b) END"],
    "validation": ["(b b) (a a) END"],
    "generalization": ["(a (b (a a) b) a) END"],
}
OTHER = ["(a a) (a a) (a a) END"]
TOML = """
[task]
name = "dyck"
files = { train = "data/train.txt", validation = "data/v.txt", generalization = "data/g.txt" }

[model]
kind = "post_norm"
n_layers = 1
d_model = 8
n_heads = 2

[training]
steps = 2
batch_size = 2
evaluate = { every = 1 }
checkpoints = { every = 1 }
"""


def write_lines(folder, lines=None, mark=b""):
    folder.mkdir(parents=True, exist_ok=True)
    for split, name in zip(LINES, ("train.txt", "v.txt", "g.txt"), strict=True):
        text = "".join(f"{line}\n" for line in lines or LINES[split])
        (folder / name).write_bytes(mark + text.encode())


@pytest.fixture
def project(tmp_path):
    """A folder with an experiment and its data."""
    write_lines(tmp_path / "project" / "data")
    (tmp_path / "project" / "dyck.toml").write_text(TOML)
    return tmp_path / "project"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The current folder: one that holds other files of the same names."""
    write_lines(tmp_path / "elsewhere" / "data", OTHER)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


@pytest.fixture
def trained(project, tmp_path, monkeypatch):
    """A run that was made inside the project."""
    monkeypatch.chdir(project)
    return train(load_experiment("dyck.toml"), tmp_path / "run", device="cpu")


def words(experiment):
    return [" ".join(each[1:]) for each in experiment.task.examples("train", None, 0).words]


OF_THE_PROJECT = [line.removesuffix(" END") for line in LINES["train"]]


def test_relative_files_are_those_beside_the_experiments_file(project, elsewhere):
    assert words(load_experiment(project / "dyck.toml")) == OF_THE_PROJECT


def test_relative_files_of_a_task_are_those_beside_its_file(project, elsewhere):
    task = read_task(project / "dyck.toml")
    assert task is not None
    assert task.data_files["train"] == str(project / "data" / "train.txt")


def test_relative_files_of_a_sweep_are_those_beside_its_file(project, elsewhere):
    table = TOML.replace("[task]", "[base.task]").replace("[model]", "[base.model]")
    text = 'base.name = "dyck"\n' + table.replace("[training]", "[base.training]")
    (project / "sweep.toml").write_text(text)
    (member,) = load_sweep(project / "sweep.toml").experiments().values()
    assert words(member) == OF_THE_PROJECT


def test_relative_files_of_later_stretches_are_found_too(project, elsewhere):
    phase = '\nschedule = [{ steps = 2, tasks = [{ name = "dyck", files = { train = "data/g.txt",'
    phase += ' validation = "data/g.txt", generalization = "data/g.txt" } }] }]\n'
    (project / "dyck.toml").write_text(TOML + phase)
    found = load_experiment(project / "dyck.toml").data_files
    assert found["training.schedule.0.tasks.0.train"] == str(project / "data" / "g.txt")


def test_a_relative_path_among_varied_values_is_refused(tmp_path):
    saved(tmp_path)
    table = '[vary]\n"task.file" = ["images.npz"]\n[base]\nname = "images"\n'
    table += '[base.task]\nname = "factor_labels"\n'
    (tmp_path / "sweep.toml").write_text(table)
    with pytest.raises(ValueError, match="a relative path; write the whole path here"):
        load_sweep(tmp_path / "sweep.toml")


def test_a_run_is_loaded_from_any_folder_with_its_own_files(trained, elsewhere):
    assert words(load(trained.path).experiment) == OF_THE_PROJECT


def test_a_run_is_carried_on_from_any_folder(trained, project, elsewhere):
    again = train(load_experiment(project / "dyck.toml"), trained.path, device="cpu")
    assert again.steps == (0, 1, 2)


def test_a_file_of_vectors_is_found_from_any_folder(tmp_path, elsewhere):
    saved(tmp_path)
    (tmp_path / "images.toml").write_text(
        '[task]\nname = "factor_labels"\nfile = "images.npz"\npairs = 4\n'
    )
    assert load_experiment(tmp_path / "images.toml").task.sizes.d_in == 5


@pytest.mark.parametrize("split", ["train", "validation", "generalization"])
def test_a_run_whose_data_have_changed_shows_no_examples(trained, split):
    file = trained.experiment.data_files[f"task.{split}"]
    with open(file, "a") as opened:  # noqa: PTH123  # a path as text
        opened.write("(a (a a) a) END\n")
    wanted = rf"task\.{split}: {file} has changed since the run .*/run was begun; put the earlier"
    with pytest.raises(ValueError, match=wanted):
        load(trained.path).snapshot()


def test_weights_are_read_though_data_have_changed(trained, project):
    write_lines(project / "data", OTHER)
    assert load(trained.path).weights("W_E").shape[0] == 3


def test_training_on_other_data_is_refused(trained, project):
    write_lines(project / "data", OTHER)
    with pytest.raises(ValueError, match=r"task\.train: .*/train\.txt has changed since the run"):
        train(load_experiment(project / "dyck.toml"), trained.path, device="cpu")


def test_data_that_were_written_again_with_the_same_bytes_are_the_same(trained, project):
    write_lines(project / "data")
    assert load(trained.path).snapshot().step == 2


def test_data_that_have_moved_are_found_by_their_new_path(trained, project, tmp_path):
    (project / "data").rename(tmp_path / "moved")
    toml = trained.path / "experiment.toml"
    toml.write_text(toml.read_text().replace(f"{project}/data", f"{tmp_path}/moved"))
    assert load(trained.path).snapshot().step == 2


def test_a_damaged_note_of_data_files_is_named(trained):
    (trained.path / "data_files.json").write_text("[")
    with pytest.raises(ValueError, match=r"data_files\.json is not a JSON table; delete it if"):
        load(trained.path).snapshot()


def test_a_missing_file_is_refused_before_a_folder_is_made(project, tmp_path):
    (project / "data" / "g.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"data file .*/data/g\.txt does not exist; a rela"):
        train(load_experiment(project / "dyck.toml"), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_run_without_data_files_has_no_note_of_them(run):
    assert not (run.path / "data_files.json").exists()


def make_old(path, project):
    """A run or sweep folder as an older version left it: paths are relative, no hashes."""
    for file in [*path.rglob("experiment.toml"), *path.rglob("sweep.toml")]:
        file.write_text(file.read_text().replace(f"{project}/", ""))
    for file in path.rglob("data_files.json"):
        file.unlink()


@pytest.mark.filterwarnings("ignore:the run names its data file by the relative path")
def test_a_run_of_an_older_version_reads_the_current_folder_and_says_so(trained, project):
    make_old(trained.path, project)
    with pytest.warns(UserWarning, match=r"relative path data/train\.txt, as older versions wr"):
        assert words(load(trained.path).experiment) == OF_THE_PROJECT


@pytest.mark.filterwarnings("ignore:the run names its data file by the relative path")
def test_a_sweep_of_an_older_version_has_the_members_it_had(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    table = TOML.replace("[task]", "[base.task]").replace("[model]", "[base.model]")
    text = 'base.name = "dyck"\n' + table.replace("[training]", "[base.training]")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "sweep.toml").write_text(text)
    found = find_sweep(tmp_path / "old")
    assert found is not None
    (member,) = found.sweep.experiments().values()
    assert member.data_files["task.train"] == "data/train.txt"


def test_lines_after_a_byte_order_mark_are_read(project):
    write_lines(project / "data", mark=b"\xef\xbb\xbf")
    assert words(load_experiment(project / "dyck.toml")) == OF_THE_PROJECT


@pytest.mark.parametrize("name", ["dyck.toml", "sweep.toml"])
def test_toml_after_a_byte_order_mark_is_read(project, name):
    text = TOML if name == "dyck.toml" else 'base = "dyck.toml"\nseeds = 1\n'
    (project / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = (load_experiment if name == "dyck.toml" else load_sweep)(project / name)
    assert found.name == name.removesuffix(".toml")


def test_a_sweep_of_the_project_is_trained_and_found_from_elsewhere(project, elsewhere):
    (project / "sweep.toml").write_text('base = "dyck.toml"\nseeds = 1\n')
    folder = train_sweep(load_sweep(project / "sweep.toml"), project / "runs", device="cpu")
    (path,) = folder.experiments()
    assert words(load(path).experiment) == OF_THE_PROJECT
    found = find_sweep(project / "runs")
    assert found is not None
    assert list(found.experiments()) == [path]


def test_a_shared_run_names_files_of_its_own_folder_alone(tmp_path):
    take = TypeAdapter(DataFile).validate_python
    context = taken_from(KEPT, run=tmp_path / "run")
    write_lines(tmp_path / "run")
    write_lines(tmp_path)
    assert take("v.txt", context=context) == str(tmp_path / "run" / "v.txt")
    with pytest.warns(UserWarning, match="its folder has no such file"):
        assert take("../v.txt", context=context) == "../v.txt"


@pytest.mark.parametrize("path", ["../v.txt", "data/../../v.txt"])
def test_a_file_of_a_run_does_not_lead_out_of_its_folder(tmp_path, path):
    take = TypeAdapter(OwnFile).validate_python
    context = taken_from(KEPT, run=tmp_path / "run")
    write_lines(tmp_path / "run")
    write_lines(tmp_path)
    assert take("v.txt", context=context) == str(tmp_path / "run" / "v.txt")
    with pytest.raises(ValueError, match=rf"{path} leads out of the run's folder: put the file in"):
        take(path, context=context)
