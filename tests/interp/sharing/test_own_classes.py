"""A run of a user's own task, given to a Hub and read elsewhere."""

import shutil

import pytest

import interp
from interp.measure.analyze import analyze
from tests.interp.own.files import in_another_process, mark_imports, write_files

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
ADDRESS = "hf://ada/tiny"


@pytest.fixture
def pushed(hub, tmp_path, monkeypatch):
    """The marker that importing the task writes; the run is on the Hub, this process forgets."""
    in_another_process(monkeypatch)
    experiment = write_files(tmp_path / "mine")
    marker = mark_imports(tmp_path / "mine" / "largest.py")
    run = interp.train(interp.load_experiment(experiment), tmp_path / "run", device="cpu")
    analyze(run, ["WeightNorms", str(tmp_path / "mine" / "answer_lead.py:AnswerLead")])
    with pytest.warns(UserWarning, match="results of AnswerLead, an analysis of your own, are not"):
        interp.push(run, ADDRESS)
    marker.unlink()
    in_another_process(monkeypatch, tmp_path / "elsewhere")
    return marker


def test_the_file_of_a_class_goes_with_the_run_and_no_path_of_this_machine(hub, pushed, tmp_path):
    files = hub.repositories["ada/tiny"].files("main")
    assert files["largest.py"] == (tmp_path / "mine" / "largest.py").read_bytes()
    assert b'name = "largest.py:Largest"' in files["experiment.toml"]
    del files["largest.py"]  # which writes a marker there
    assert not [name for name, content in files.items() if str(tmp_path).encode() in content]
    assert not [name for name in files if "AnswerLead" in name]


def test_a_download_imports_nothing_unless_it_is_trusted(hub, pushed):
    run = interp.load(ADDRESS)
    assert run.weights("W_E").shape[0] == len(run.steps)
    with pytest.raises(ValueError, match=r"largest.py holds a class that a folder names.*--trust"):
        run.snapshot()
    assert not pushed.exists()
    trusted = interp.load(ADDRESS, trust=True)
    assert len(trusted.snapshot(count=4).examples) == 4
    assert interp.load(ADDRESS).snapshot(count=4).step == 4  # the same file, from now on


def test_pushing_a_download_imports_nothing(hub, pushed, tmp_path):
    interp.pull(ADDRESS, tmp_path / "copy")
    unsure = pytest.warns(UserWarning, match="nothing can say whether saved results hold")
    left = pytest.warns(UserWarning, match=r"largest.py is not uploaded: it was never imported")
    with unsure, left:
        interp.push(interp.load(tmp_path / "copy"), "hf://ada/again")
    assert not pushed.exists()
    assert "largest.py" not in hub.repositories["ada/again"].files("main")


@pytest.mark.parametrize("name", ["environment.json", "imported.json", "checkpoints/0.safetensors"])
def test_a_link_to_another_folder_is_refused(name, hub, run, tmp_path):
    own = shutil.copytree(run.path, tmp_path / "run")
    target = shutil.move(own / name, tmp_path) if (own / name).exists() else run.path / name
    if not (tmp_path / (own / name).name).exists():
        target = tmp_path / "secret.json"
        target.write_text("{}")
    (own / name).symlink_to(target)
    with pytest.raises(ValueError, match=r"is a link to another folder: put the file itself there"):
        interp.push(interp.load(own), ADDRESS)
    assert "ada/tiny" not in hub.repositories


def test_files_that_a_folder_names_are_not_uploaded_unless_they_are_trusted(hub, run, tmp_path):
    own, private = shutil.copytree(run.path, tmp_path / "run"), tmp_path / "private.py"
    private.write_text("SECRET = 1\n")
    text = (own / "experiment.toml").read_text()
    kind = text[text.index('kind = "') :].split("\n")[0]
    (own / "experiment.toml").write_text(text.replace(kind, f'kind = "{private}:X"'))
    with pytest.warns(UserWarning, match=r"private.py is not uploaded: it was never imported"):
        interp.push(interp.load(own), ADDRESS)
    assert "private.py" not in hub.repositories["ada/tiny"].files("main")


def test_an_edited_file_of_a_class_is_not_shared(hub, tmp_path, monkeypatch):
    in_another_process(monkeypatch)
    experiment = write_files(tmp_path / "mine")
    run = interp.train(interp.load_experiment(experiment), tmp_path / "run", device="cpu")
    with (tmp_path / "mine" / "largest.py").open("a") as file:
        file.write("# edited\n")
    with pytest.raises(ValueError, match=r"largest.py:Largest has changed since the run"):
        interp.push(run, ADDRESS)
