"""A run of a user's own task, given to a Hub and read elsewhere."""

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
    with pytest.raises(ValueError, match=r"largest.py holds a class of this run.*--trust"):
        run.snapshot()
    assert not pushed.exists()
    trusted = interp.load(ADDRESS, trust=True)
    assert len(trusted.snapshot(count=4).examples) == 4
    assert interp.load(ADDRESS).snapshot(count=4).step == 4  # the same file, from now on


def test_pushing_a_download_imports_nothing(hub, pushed, tmp_path):
    interp.pull(ADDRESS, tmp_path / "copy")
    with pytest.warns(UserWarning, match="nothing can say whether saved results hold"):
        interp.push(interp.load(tmp_path / "copy"), ADDRESS + "@again")
    assert not pushed.exists()
    assert "largest.py" in hub.repositories["ada/tiny"].files("again")
