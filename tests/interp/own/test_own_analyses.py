"""Analyses of a user's own: measured by where they are, saved, shown, and measured again."""

import shutil

import pytest

import interp
from interp.runs.results import find_saved
from tests.interp.own.files import in_another_process, mark_imports

ONLY = ("--only", "answer_lead.py:AnswerLead")


@pytest.fixture
def measured(own_run, mine, monkeypatch, command):
    """The run with the own analysis measured, in another process."""
    monkeypatch.chdir(mine)
    code, printed, said = command("analyze", own_run.path, *ONLY)
    assert (code, said, printed) == (0, "", f"{own_run.path}  AnswerLead: 2 measured, 0 kept\n")
    in_another_process(monkeypatch)
    return own_run


def test_its_figure_and_scalars_are_on_the_page(measured, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, _, said = command("report", measured.path, "--out", tmp_path / "report")
    assert (code, said) == (0, "")
    page = (tmp_path / "report" / "runs" / "run.html").read_text()
    assert "The right answer leads by" in page
    assert "mean_margin" in page or "mean margin" in page


def test_it_is_measured_once(measured, command):
    assert "AnswerLead: 0 measured, 2 kept" in command("analyze", measured.path, *ONLY)[1]


def test_it_is_not_measured_unasked(measured, command):
    assert "AnswerLead" not in command("analyze", measured.path, "--why")[1]


def test_it_is_measured_again_once_its_file_was_edited(measured, mine, command):
    text = (mine / "answer_lead.py").read_text()
    assert "others.amax(1)" in text
    (mine / "answer_lead.py").write_text(text.replace("others.amax(1)", "others.amin(1)"))
    assert "AnswerLead: 2 measured, 0 kept" in command("analyze", measured.path, *ONLY)[1]


def test_edited_results_are_not_shown(measured, mine, tmp_path, command):
    with (mine / "answer_lead.py").open("a") as file:
        file.write("\n")
    marker = mark_imports(mine / "answer_lead.py")
    code, _, said = command("report", measured.path, "--out", tmp_path / "report")
    assert (code, "answer_lead.py holds a class that a folder names" in said) == (0, True)
    assert not marker.exists()
    page = (tmp_path / "report" / "runs" / "run.html").read_text()
    assert "The right answer leads by" not in page
    code, _, said = command("report", measured.path, "--out", tmp_path / "report", "--trust")
    assert code == 0
    assert "of another text of its class" in said
    assert marker.exists()


def test_a_missing_file_is_named_and_all_else_is_shown(measured, mine, tmp_path, command):
    assert (
        "WeightNorms: 2 measured" in command("analyze", measured.path, "--only", "WeightNorms")[1]
    )
    (mine / "answer_lead.py").unlink()
    code, _, said = command("report", measured.path, "--out", tmp_path / "report")
    assert (code, said.count("\n")) == (0, 1)
    assert f"{mine / 'answer_lead.py'} does not exist" in said
    assert "Weight norms" in (tmp_path / "report" / "runs" / "run.html").read_text()


def test_downloaded_results_import_nothing(measured, mine, tmp_path, monkeypatch, command):
    marker = mark_imports(mine / "answer_lead.py")
    in_another_process(monkeypatch, tmp_path / "state of another")
    for words in ("analyze {}", "report {} --out " + str(tmp_path / "report")):
        command(*words.format(measured.path).split(" "))
    results, faults = find_saved(interp.load(measured.path))
    assert "AnswerLead" not in [saved.name for saved in results]
    assert any("answer_lead.py holds a class that a folder names" in fault for fault in faults)
    assert not marker.exists()


def test_it_is_measured_on_every_run_of_a_sweep(mine, tmp_path, monkeypatch, command):
    monkeypatch.chdir(mine)
    command("train", "own.toml", "--seeds", 2, "--out", tmp_path / "s")
    assert "AnswerLead: 4 measured" in command("analyze", tmp_path / "s", *ONLY)[1]


def test_its_class_is_traced_and_asked_for_in_python(measured, mine, monkeypatch):
    monkeypatch.chdir(mine)
    frame = interp.trace(measured, "answer_lead.py:AnswerLead")
    assert frame["step"].tolist() == [0, 4]
    result = measured.result("answer_lead.py:AnswerLead")
    assert result.summary()["mean_margin"] == frame["mean_margin"].iloc[-1]


WRONG = {
    "answer_lead.py:Missing": "answer_lead.py has no class Missing",
    "nowhere.py:AnswerLead": "nowhere.py does not exist",
    "largest.py:Largest": "largest.py:Largest is no BaseResult: let it inherit",
    "listed.py:WeightNorms": "there is an analysis WeightNorms already: call yours otherwise",
    "broken.py:Broken": "broken.py cannot be imported: SyntaxError",
    "AnswerLead": "no analysis 'AnswerLead'",
}


@pytest.mark.parametrize(("reference", "message"), WRONG.items())
def test_a_wrong_one_is_refused_in_one_line(
    reference, message, own_run, mine, monkeypatch, command
):
    monkeypatch.chdir(mine)
    text = (mine / "answer_lead.py").read_text()
    (mine / "listed.py").write_text(text.replace("AnswerLead", "WeightNorms"))
    (mine / "broken.py").write_text("class Broken(:\n")
    code, printed, said = command("analyze", own_run.path, "--only", reference)
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert message in said
    assert not (own_run.path / "results").exists()


def test_two_files_may_hold_an_analysis_of_one_name(measured, mine, tmp_path, command):
    (mine / "other").mkdir()
    shutil.copy(mine / "answer_lead.py", mine / "other" / "answer_lead.py")
    only = ("--only", "other/answer_lead.py:AnswerLead")
    assert "AnswerLead: 2 measured, 0 kept" in command("analyze", measured.path, *only)[1]


def test_what_was_measured_is_printed_before_the_error_of_another(
    own_run, mine, monkeypatch, command
):
    monkeypatch.chdir(mine)
    text = (mine / "answer_lead.py").read_text()
    assert "others.amax(1)" in text
    (mine / "answer_lead.py").write_text(text.replace("others.amax(1)", "others.amax(7)"))
    code, printed, said = command("analyze", own_run.path, *ONLY, "--only", "WeightNorms")
    assert (code, said.count("\n")) == (2, 1)
    assert "AnswerLead" in said
    assert f"{own_run.path}  WeightNorms: 2 measured, 0 kept\n" in printed


def test_what_runs_of_a_sweep_measured_is_printed_before_an_error(
    mine, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(mine)
    assert command("train", mine / "own.toml", "--seeds", 2, "--out", tmp_path / "s")[0] == 0
    text = (mine / "answer_lead.py").read_text()
    (mine / "answer_lead.py").write_text(text.replace("others.amax(1)", "others.amax(7)"))
    code, printed, _ = command("analyze", tmp_path / "s", *ONLY, "--only", "WeightNorms")
    assert (code, "WeightNorms: 4 measured, 0 kept" in printed) == (2, True)
