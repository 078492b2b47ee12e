"""A report is written again only where its runs have changed; one page may be written alone."""

import os
import re
import shutil
from dataclasses import replace

import pytest

from analyses import WeightNorms
from interp.measure.analyze import analyze
from interp.pages import write, write_report
from interp.runs.checkpoint_files import pack
from interp.runs.results import read_header, saved, write_result
from interp.runs.run import Run
from tests.interp.pages.written import contents, drawings, only_page


@pytest.fixture(scope="module")
def once(analysed, tmp_path_factory):
    """The folder of a copy of the analysed run, and of its report as it was first written."""
    place = tmp_path_factory.mktemp("again")
    write_report([Run(shutil.copytree(analysed.path, place / "run"))], place / "report")
    return place


@pytest.fixture
def written(once, tmp_path):
    """A copy of the analysed run, and its page as it was first written."""
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    return Run(tmp_path / "run"), tmp_path / "report" / "runs" / "run.html"


def drawn(written, monkeypatch):
    """Whether writing the report again draws the run's page again."""
    run, page = written
    calls = []
    made = write.run_page
    monkeypatch.setattr(write, "run_page", lambda *given: calls.append(1) or made(*given))
    write_report([run], page.parent.parent)
    return bool(calls)


def test_a_page_whose_run_is_as_it_was_is_not_drawn_again(written, monkeypatch):
    assert not drawn(written, monkeypatch)


def test_a_run_that_was_copied_is_as_it_was(written, monkeypatch, tmp_path):
    run, page = written
    copy = Run(shutil.copytree(run.path, tmp_path / "elsewhere" / "run"))
    assert not drawn((copy, page), monkeypatch)


def test_a_file_that_was_only_touched_changes_nothing(written, monkeypatch):
    run, page = written
    os.utime(run.path / "metrics.jsonl", (0, 0))
    assert not drawn((run, page), monkeypatch)


@pytest.mark.parametrize("name", ["experiment.toml", "environment.json"])
def test_a_page_is_drawn_again_where_a_byte_of_its_run_has_changed(written, monkeypatch, name):
    run, page = written
    with (run.path / name).open("a") as file:
        file.write("\n")
    assert drawn((Run(run.path), page), monkeypatch)


def test_a_page_is_drawn_again_where_metrics_have_changed_without_what_they_gave(
    written, monkeypatch
):
    run, page = written
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41}\n')
    with pytest.warns(UserWarning, match="GrokkingPhases: of another state of the run"):
        assert drawn((run, page), monkeypatch)


def test_a_page_without_some_results_is_drawn_each_time_and_says_so(written, monkeypatch):
    run, page = written
    run.checkpoint(20).write_bytes(pack(dict(run.parameters(10)), step=20))
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"FourierSpectrum at step 20: of another checkpoint"):
            assert drawn((run, page), monkeypatch)


def test_a_page_is_drawn_again_where_a_checkpoint_has_changed_and_was_analysed(
    written, monkeypatch
):
    run, _ = written
    run.checkpoint(20).write_bytes(pack(dict(run.parameters(10)), step=20))
    analyze(run)
    assert drawn(written, monkeypatch)
    assert not drawn(written, monkeypatch)


def test_a_page_is_drawn_again_by_another_version(written, monkeypatch):
    monkeypatch.setattr(write, "program_hash", lambda: "another")
    assert drawn(written, monkeypatch)


def test_a_changed_result_changes_its_page_alone(written, folder):
    run, page = written
    other = Run(folder)
    write_report([run, other], page.parent.parent)
    before = contents(page.parent)
    (each,) = [each for each in saved(run) if each.cls is WeightNorms]
    last = each.load()
    doubled = replace(last, norms=2 * last.norms)
    write_result(each.file(), doubled, read_header(each.file()))
    write_report([run, other], page.parent.parent)
    after = contents(page.parent)
    assert [name.name for name in before if after[name] != before[name]] == ["run.html"]


def test_a_page_drawn_again_is_the_page_drawn_at_once(written, tmp_path):
    run, page = written
    shutil.rmtree(run.path / "results" / "WeightNorms")
    write_report([run], page.parent.parent)
    assert page.read_text("utf-8") == only_page([run], tmp_path / "fresh")


def test_a_single_file_refers_to_no_other(analysed, tmp_path):
    file = write_report([analysed], tmp_path / "run.html", single_file=True)
    page = file.read_text("utf-8")
    assert not re.search(r"<(script|link|img|iframe)\b[^>]*\b(src|href)=\"(?!data:)", page)
    assert [path.name for path in tmp_path.iterdir()] == ["run.html"]


def test_a_single_file_holds_every_drawing_of_the_page(written, tmp_path):
    run, page = written
    alone = write_report([run], tmp_path / "run.html", single_file=True)
    assert drawings(alone.read_text("utf-8")) == drawings(page.read_text("utf-8"))


def test_no_script_of_a_single_file_ends_early(analysed, tmp_path):
    page = write_report([analysed], tmp_path / "run.html", single_file=True).read_text("utf-8")
    opened = re.findall(r"<script(?:>| type=)", page)
    assert len(opened) - 1 == page.count("</script>")  # React holds "<script>" in a string
    assert "<!--" not in page


def test_several_runs_in_a_single_file_are_refused(analysed, run, tmp_path):
    with pytest.raises(ValueError, match="a single file holds one run, 2 were named"):
        write_report([analysed, run], tmp_path / "runs.html", single_file=True)
    assert list(tmp_path.iterdir()) == []


def test_a_single_file_replaces_no_other_file(run, tmp_path):
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(ValueError, match="something other than a report"):
        write_report([run], tmp_path / "mine.html", single_file=True)
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_a_folder_is_no_place_for_a_single_file(run, tmp_path):
    with pytest.raises(ValueError, match="choose another file"):
        write_report([run], tmp_path, single_file=True)
