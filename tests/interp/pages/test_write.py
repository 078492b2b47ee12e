import html
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from analyses import GrokkingPhases
from analyses.result import readable
from interp.pages import write_report
from interp.pages.write import page_names
from interp.runs.results import read_header, saved, write_result
from interp.runs.run import Run
from tests.interp.pages.written import contents, drawings, only_page, rewritten

HOSTILE = "<script>alert('&\"')</script>"


@pytest.fixture(scope="session")
def folder_of_report(analysed, tmp_path_factory):
    return write_report([analysed], tmp_path_factory.mktemp("pages") / "report").parent


@pytest.fixture(scope="session")
def page(folder_of_report):
    return (folder_of_report / "runs" / "tiny.html").read_text("utf-8")


def own_files(folder):
    files = [*folder.rglob("*.html"), folder / "assets/style.css", folder / "assets/report.js"]
    return [file.read_text("utf-8") for file in files]


def test_a_report_is_an_index_a_page_a_run_and_assets(folder_of_report):
    names = sorted(str(name) for name in contents(folder_of_report))
    scripts = [
        f"assets/{name}.js" for name in ("circuitsvis", "index", "own", "plotly.min", "report")
    ]
    assert names == [*scripts, "assets/style.css", "index.html", "runs/tiny.html"]


def test_the_same_runs_give_the_same_bytes(analysed, folder_of_report, tmp_path):
    again = write_report([analysed], tmp_path / "again").parent
    assert contents(again) == contents(folder_of_report)


def test_a_report_can_be_written_again_in_place(run, tmp_path):
    first = contents(write_report([run], tmp_path / "report").parent)
    assert contents(write_report([run], tmp_path / "report").parent) == first


def test_pages_of_runs_that_left_the_report_are_removed(run, folder, tmp_path):
    write_report([run, Run(folder)], tmp_path / "report")
    write_report([run], tmp_path / "report")
    assert [file.name for file in (tmp_path / "report/runs").iterdir()] == ["tiny.html"]


def test_nothing_is_loaded_from_outside(folder_of_report):
    outside = re.compile(
        r"""(src|href|action)\s*=\s*["']?\s*(https?:)?//|url\(|@import|\bfetch\("""
    )
    assert [text for text in own_files(folder_of_report) if outside.search(text)] == []


def test_everything_that_is_linked_is_there(folder_of_report, page):
    links = re.findall(r'(?:src|href)="([^"#][^"]*)"', page.replace('href="data:,"', ""))
    assert [link for link in links if not (folder_of_report / "runs" / link).is_file()] == []


def test_every_entry_of_the_contents_leads_somewhere(page):
    targets = re.findall(r'href="#([^"]+)"', page)
    assert [target for target in targets if f'id="{target}"' not in page] == []


def test_no_id_is_used_twice(page):
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_every_drawing_has_its_data(page):
    places = re.findall(r'<div class="drawing \w+" id="([^"]+)"', page)
    assert places == list(drawings(page))


def test_every_analysis_of_the_run_has_a_section(analysed, page):
    titles = [each.cls.title or readable(each.name) for each in saved(analysed)]
    assert [title for title in titles if f"<h2>{title}</h2>" not in page] == []


def test_a_section_is_called_what_people_call_it(page):
    assert "<h2>Clock or pizza</h2>" in page


def test_figures_that_have_steps_offer_every_step(analysed, page):
    offered = {tuple(data["steps"]) for data in drawings(page).values() if "steps" in data}
    assert offered == {analysed.steps}


def test_a_figure_has_a_heading_and_its_traces_for_each_step(analysed, page):
    moving = [data for data in drawings(page).values() if "steps" in data]
    counts = {len(data[name]) for data in moving for name in ("titles", "visible")}
    assert counts == {len(analysed.steps)}


def test_headings_stand_in_the_page_and_not_in_figures(page):
    figures = [data for data in drawings(page).values() if "layout" in data]
    assert [figure for figure in figures if "title" in figure["layout"]] == []


def test_loss_has_a_logarithmic_axis(page):
    assert drawings(page)["metric-1"]["layout"]["yaxis"]["type"] == "log"


def test_the_untrained_model_stands_beside_the_trained_one(page):
    assert '<th scope="col" class="number">untrained (step 0)</th>' in page


def test_the_page_says_how_to_make_the_run_again(page):
    assert "interp train experiment.toml --out runs/tiny" in page


def test_the_page_holds_the_whole_experiment(analysed, page):
    assert html.escape(analysed.experiment.to_toml(), quote=False) in page.replace("&#34;", '"')


def test_no_path_of_the_machine_is_in_the_report(analysed, folder_of_report):
    parent = str(analysed.path.parent)
    assert [text for text in own_files(folder_of_report) if parent in text] == []


def test_a_hostile_run_name_is_text(folder, tmp_path):
    run = Run(folder.rename(folder.with_name("<img src=x onerror=alert(1)>")))
    pages = own_files(write_report([run], tmp_path / "report").parent)
    assert [text for text in pages if "<img" in text] == []


def test_a_hostile_run_name_is_no_file_name(tmp_path):
    assert page_names([Run(tmp_path / "<b>&'..")]) == ["b.html"]


def test_hostile_settings_are_text(folder, tmp_path):
    run = rewritten(folder, '"*.b_*"', json.dumps(HOSTILE))
    assert HOSTILE not in only_page([run], tmp_path / "report")


def test_hostile_versions_are_text(folder, tmp_path):
    (folder / "environment.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    assert HOSTILE not in only_page([Run(folder)], tmp_path / "report")


@pytest.fixture(scope="session")
def hostile_page(hostile_run, tmp_path_factory):
    return only_page([hostile_run], tmp_path_factory.mktemp("hostile") / "report")


def test_words_that_look_like_markup_end_no_script(hostile_page):
    assert hostile_page.count("<script") == hostile_page.count("</script>")


def test_words_that_look_like_markup_are_shown_as_text(hostile_page):
    views = [data for data in drawings(hostile_page).values() if "component" in data]
    tokens = next(data for data in views if data["component"] == "ColoredTokens")
    assert "&lt;bos&gt; " in tokens["props"]["tokens"]


def test_runs_of_one_name_have_a_page_each(tmp_path):
    runs = [Run(tmp_path / parent / "Run 1") for parent in ("a", "b")]
    assert page_names(runs) == ["Run-1.html", "Run-1-2.html"]


def test_names_that_differ_in_case_have_a_page_each(tmp_path):
    assert page_names([Run(tmp_path / "Run"), Run(tmp_path / "run")]) == ["Run.html", "run-2.html"]


def test_a_name_without_a_letter_has_a_page(tmp_path):
    assert page_names([Run(tmp_path / "…")]) == ["run.html"]


def test_a_run_without_results_says_what_to_run(folder, tmp_path):
    assert "interp analyze RUN" in only_page([Run(folder)], tmp_path / "report")


def test_a_run_without_results_loads_no_circuitsvis(folder, tmp_path):
    assert "circuitsvis.js" not in only_page([Run(folder)], tmp_path / "report")


def test_a_run_without_metrics_says_so(folder, tmp_path):
    (folder / "metrics.jsonl").unlink()
    assert "No metrics were recorded" in only_page([Run(folder)], tmp_path / "report")


def test_a_run_without_checkpoints_has_a_page(folder, tmp_path):
    shutil.rmtree(folder / "checkpoints")
    assert "– parameters, 40 steps" in only_page([Run(folder)], tmp_path / "report")  # noqa: RUF001


def test_a_run_without_environment_says_so(folder, tmp_path):
    (folder / "environment.json").unlink()
    assert "it has no environment.json" in only_page([Run(folder)], tmp_path / "report")


def test_a_damaged_environment_is_named(folder, tmp_path):
    (folder / "environment.json").write_text("{")
    with pytest.raises(ValueError, match=r"environment\.json is not a JSON table"):
        write_report([Run(folder)], tmp_path / "report")


def test_no_runs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one run"):
        write_report([], tmp_path / "report")


def test_nothing_is_written_for_no_runs(tmp_path):
    with pytest.raises(ValueError, match="at least one run"):
        write_report([], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_folder_of_other_things_is_refused(run, tmp_path):
    (tmp_path / "index.html").write_text("<html>mine</html>")
    with pytest.raises(ValueError, match="holds something other than a report"):
        write_report([run], tmp_path)


def test_a_refused_folder_stays_as_it_was(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="choose another folder"):
        write_report([run], tmp_path)
    assert list(contents(tmp_path).values()) == [b"mine"]


def test_a_file_is_refused(run, tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        write_report([run], tmp_path / "report")


def test_rendering_leaves_transformer_lens_out(analysed, tmp_path):
    code = (
        "import sys; from pathlib import Path; from interp.runs.run import Run;"
        "from interp.pages import write_report;"
        "write_report([Run(Path(sys.argv[1]))], Path(sys.argv[2]));"
        "sys.exit('transformer_lens' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(analysed.path), str(tmp_path / "report")]
    assert subprocess.run(command, check=False).returncode == 0


def test_what_was_found_comes_before_what_was_set(page):
    places = [page.index(f'<section id="{name}">') for name in ("training", "numbers", "trained")]
    assert places == sorted(places)


@pytest.fixture(scope="module")
def phases(analysed, tmp_path_factory):
    """The phases on the page of a run that crosses on train at 10 and on test at 30."""
    place = tmp_path_factory.mktemp("phases")
    run = Run(shutil.copytree(analysed.path, place / "run"))
    (each,) = [each for each in saved(run) if each.cls is GrokkingPhases]
    last = each.load()
    crossed = replace(last, accuracy=np.stack([last.steps >= 10, last.steps >= 30]).astype(float))
    write_result(each.file(), crossed, read_header(each.file()))
    marks = re.search(r'data-marks="([^"]*)"', only_page([run], place / "report"))
    assert marks is not None
    return json.loads(html.unescape(marks[1]))


def test_the_phases_are_marked_on_the_scrubber(phases):
    assert (phases["train ≥ 99%"], phases["test ≥ 99%"]) == (10, 30)


def test_matrices_keep_their_names_in_scalars(page):
    assert '<th scope="row">Gini of W_E</th>' in page


def test_a_report_without_its_index_yet_is_gone_on_with(folder_of_report, analysed, tmp_path):
    out = shutil.copytree(folder_of_report, tmp_path / "report")
    (out / "index.html").unlink()
    (out / "runs" / ".tiny.html.0123abcd.tmp").write_text("half")
    write_report([analysed], out)
    index = (folder_of_report / "index.html").read_bytes()
    assert (out / "index.html").read_bytes() == index


@pytest.mark.parametrize("place", ["runs/mine.html", "assets/mine.js", "runs/notes.txt"])
def test_a_folder_of_other_pages_is_refused(run, tmp_path, place):
    (tmp_path / place).parent.mkdir()
    (tmp_path / place).write_text("<html>mine</html>")
    with pytest.raises(ValueError, match="holds something other than a report"):
        write_report([run], tmp_path)
