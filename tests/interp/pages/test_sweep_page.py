"""The report of a sweep: its page, small multiples, results of the whole, every run."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from interp.pages import write_sweep_report
from interp.runs.run import Run
from interp.sweeps.sweep import SweepFolder
from tests.interp.cli.test_commands import call
from tests.interp.pages.browser import DRAWN, Tab, empty, outside, unfold
from tests.interp.pages.written import contents, drawings
from tests.planted import tiny_experiment
from tests.sweeps import tiny_sweep, train_members


@pytest.fixture(scope="module")
def written(analysed_sweep, tmp_path_factory):
    """The report's folder."""
    return write_sweep_report(analysed_sweep, tmp_path_factory.mktemp("written") / "report").parent


@pytest.fixture(scope="module")
def page(written):
    return (written / "index.html").read_text("utf-8")


@pytest.fixture
def folder(analysed_sweep, tmp_path):
    """A copy of the analysed sweep, to be changed."""
    path = shutil.copytree(analysed_sweep.path, tmp_path / "copy")
    return SweepFolder(path, analysed_sweep.sweep)


def page_of(folder, out):
    return write_sweep_report(folder, out).read_text("utf-8")


def rows_of(page):
    return re.findall(r'<tr><th scope="row">(?:<a[^>]*>)?[^<]*<wbr>.*?</tr>', page, re.DOTALL)


def test_a_run_with_results_has_a_page(analysed_sweep, written):
    names = {path.name for path in analysed_sweep.experiments()}
    assert {file.stem for file in (written / "runs").iterdir()} == names


def test_a_run_without_results_stands_in_the_table_alone(folder, tmp_path):
    bare = next(iter(folder.experiments()))
    shutil.rmtree(bare / "results")
    with pytest.warns(UserWarning, match="OutcomeShares: of another state of the runs"):
        page = page_of(folder, tmp_path / "report")
    assert len(rows_of(page)) == 8
    assert not (tmp_path / "report" / "runs" / f"{bare.name}.html").exists()
    assert f'href="runs/{bare.name}.html"' not in page


def test_everything_that_is_linked_is_there(written, page):
    links = [link for link in re.findall(r'(?:href|src)="([^"#:]+)"', page) if link]
    assert links
    assert all((written / link).is_file() for link in links)


def test_every_entry_of_the_contents_leads_somewhere(page):
    contents = page.partition("</nav>")[0]
    targets = re.findall(r'<a href="#([^"]+)"', contents)
    assert len(targets) == 7
    assert all(f'id="{target}"' in page for target in targets)


def test_no_id_is_used_twice(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_same_sweep_gives_the_same_bytes(analysed_sweep, written, tmp_path):
    again = write_sweep_report(analysed_sweep, tmp_path / "again").parent
    assert contents(again) == contents(written)


def test_a_report_can_be_written_again_in_place(analysed_sweep, written):
    before = contents(written)
    write_sweep_report(analysed_sweep, written)
    assert contents(written) == before


def test_every_saved_result_has_a_section(page):
    assert "<h2>Outcome shares</h2>" in page
    assert "<h2>Seed spread</h2>" in page


def test_results_of_one_analysis_are_told_apart_by_their_options(folder, tmp_path):
    from interp.measure.sweep import analyze_sweep

    table = {"SeedSpread": [{}, {"scalar": "test.loss"}]}
    sweep = type(folder.sweep).model_validate(folder.sweep.model_dump() | {"analyses": table})
    folder = SweepFolder(folder.path, sweep)
    analyze_sweep(folder, ["SeedSpread"])
    page = page_of(folder, tmp_path / "report")
    assert re.findall(r"<h2>(Seed.*)</h2>", page) == ["Seed spread", "Seed spread: test.loss"]


def test_small_multiples_have_a_panel_a_setting(page):
    notes = drawings(page)["metric-1"]["layout"]["annotations"]
    assert [note["text"] for note in notes] == [
        "weight decay 0.1, lr 0.001", "weight decay 0.1, lr 0.01",
        "weight decay 1, lr 0.001", "weight decay 1, lr 0.01",
    ]  # fmt: skip


def test_small_multiples_have_a_curve_a_run(analysed_sweep, page):
    first = Run(next(iter(analysed_sweep.experiments()))).series().metrics
    figures = [figure for name, figure in drawings(page).items() if name.startswith("metric-")]
    (accuracy,) = [
        figure for figure in figures if figure["layout"]["yaxis"]["title"]["text"][0] == "a"
    ]
    trace = next(each for each in accuracy["data"] if each["name"] == "test")
    curves = np.split(np.array(trace["y"], dtype=float), len(trace["y"]) // (len(first) + 1))
    assert len(curves) == 2
    np.testing.assert_allclose(curves[0][:-1], first["test.accuracy"], rtol=1e-5)


def test_long_curves_are_thinned(tmp_path):
    every = tiny_experiment(steps=300, evaluate={"every": 1}, checkpoints={"every": 300})
    folder = train_members(tiny_sweep(base=every, vary={}, seeds=1), tmp_path / "sweep")
    figure = drawings(page_of(folder, tmp_path / "report"))["metric-1"]
    xs = figure["data"][0]["x"]
    assert len(xs) <= 101
    assert (xs[0], xs[-2]) == (0, 300)


def test_the_table_has_a_column_a_setting(page):
    (head,) = re.findall(r'<table class="runs">.*?</thead>', page, re.DOTALL)
    assert all(f">{name}</th>" in head for name in ("weight decay", "lr", "seed"))
    assert '<th scope="col">Task</th>' not in head


def test_what_varies_is_told_and_is_not_among_what_is_shared(page):
    assert re.search(r'row">weight decay</th><td>0\.1, 1</td>', page)
    assert page.count('<th scope="row">weight decay</th>') == 1


def test_seeds_in_order_are_told_by_their_ends(tmp_path):
    base = tiny_experiment(steps=2, checkpoints={"every": 2})
    sweep = tiny_sweep(base=base, vary={}, seeds=3)
    page = page_of(train_members(sweep, tmp_path / "sweep"), tmp_path / "report")
    assert '<th scope="row">seeds</th><td>0 to 2</td>' in page


def facts(page):
    """How many runs there are of each kind, as the head of the page says it."""
    line = re.search(r'<p class="lede">(\d+ runs[^<]*)[.]</p>', page)
    assert line is not None
    return {name: count for count, name in (text.split(" ", 1) for text in line[1].split(", "))}


def test_a_finished_sweep_says_so(page):
    assert facts(page) == {"runs": "8", "finished": "8"}


def test_runs_that_failed_and_that_are_missing_are_told(folder, tmp_path):
    failed, gone, *_ = folder.experiments()
    (failed / "failure.json").write_text(json.dumps({"step": 20, "reason": "diverged at step 20"}))
    shutil.rmtree(gone)
    with pytest.warns(UserWarning, match="SeedSpread: of another number of runs, state of the"):
        page = page_of(folder, tmp_path / "report")
    assert facts(page) == {"runs": "8", "finished": "6", "failed": "1", "not finished yet": "1"}
    assert '<span class="detail">diverged at step 20</span>' in page


def test_a_damaged_run_is_named_and_the_others_are_drawn(folder, tmp_path):
    damaged = next(iter(folder.experiments()))
    with (damaged / "metrics.jsonl").open("a") as file:
        file.write("garbage\n")
    warned = r"left out of the report: .*metrics\.jsonl, line \d+ is not a row"
    with (
        pytest.warns(UserWarning, match=warned),
        pytest.warns(UserWarning, match="are not current"),
    ):
        page = page_of(folder, tmp_path / "report")
    assert facts(page) == {"runs": "8", "finished": "7", "damaged": "1"}
    assert len(rows_of(page)) == 7
    assert f'href="runs/{damaged.name}.html"' not in page


def test_a_run_with_a_damaged_checkpoint_is_named_and_the_others_are_drawn(folder, tmp_path):
    damaged = next(iter(folder.experiments()))
    for file in (damaged / "checkpoints").iterdir():
        file.write_bytes(b"nonsense")
    warned = r"left out of the report: .*safetensors is damaged"
    with (
        pytest.warns(UserWarning, match=warned),
        pytest.warns(UserWarning, match="are not current"),
    ):
        page = page_of(folder, tmp_path / "report")
    assert len(rows_of(page)) == 7


def test_a_sweep_without_results_says_what_to_run(tmp_path):
    base = tiny_experiment(steps=2, checkpoints={"every": 2})
    folder = train_members(tiny_sweep(base=base, vary={}), tmp_path / "sweep")
    page = page_of(folder, tmp_path / "report")
    assert "interp analyze SWEEP" in page
    assert not list((tmp_path / "report" / "runs").glob("*"))


def test_the_page_says_how_to_make_the_sweep_again(analysed_sweep, page):
    name = analysed_sweep.path.name
    commands = ("interp sweep sweep.toml --out", "interp analyze", "interp report")
    assert all(f"{command} runs/{name}" in page for command in commands)
    assert "[base.task]" in page


def test_no_path_of_the_machine_is_in_the_report(analysed_sweep, written):
    place = str(analysed_sweep.path.parent).encode()
    assert not any(place in content for content in contents(written).values())


def test_a_sweep_that_has_not_begun_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no run has begun; train them with `interp sweep`"):
        write_sweep_report(SweepFolder(tmp_path / "sweep", tiny_sweep()), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_folder_of_other_things_is_refused(analysed_sweep, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="something other than a report"):
        write_sweep_report(analysed_sweep, tmp_path)


def test_a_single_file_holds_every_drawing_and_no_link_to_a_page(analysed_sweep, page, tmp_path):
    file = write_sweep_report(analysed_sweep, tmp_path / "sweep.html", single_file=True)
    alone = file.read_text("utf-8")
    own, others = drawings(alone), drawings(page)
    assert [href for _, href in own.pop("scatter")["runs"] if href] == []
    assert others.pop("scatter")
    assert own == others
    assert 'href="runs/' not in alone
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.html"]


def test_rendering_leaves_transformer_lens_out(analysed_sweep, tmp_path):
    code = (
        "import sys; from interp.sweeps.sweep import find_sweep;"
        "from interp.pages import write_sweep_report;"
        "write_sweep_report(find_sweep(sys.argv[1]), sys.argv[2]);"
        "sys.exit('transformer_lens' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(analysed_sweep.path), str(tmp_path / "report")]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.fixture
def interp(monkeypatch, capsys):
    return lambda *arguments: call(monkeypatch, capsys, *arguments)


def test_the_commands_take_a_sweeps_folder(interp, folder, tmp_path):
    code, out, _ = interp("analyze", folder.path, "--only", "OutcomeShares")
    assert code == 0
    assert f"{folder.path}  GrokkingPhases: 0 measured, 8 kept" in out
    assert f"{folder.path}  OutcomeShares: 0 measured, 1 kept" in out
    code, out, _ = interp("report", folder.path, "--out", tmp_path / "report")
    assert (code, out.strip()) == (0, f"wrote {tmp_path / 'report' / 'index.html'}")


def test_a_sweep_and_a_run_in_one_report_are_refused(interp, folder, run, tmp_path):
    code, _, error = interp("report", folder.path, run.path, "--out", tmp_path / "report")
    assert code == 2
    assert "a report is of runs or of one sweep" in error
    assert not (tmp_path / "report").exists()


@pytest.fixture
def shown(tab, written):
    tab.open(written / "index.html", DRAWN)
    unfold(tab)
    return tab


def test_every_figure_has_pixels(shown):
    assert not empty(shown, ".figure")


def test_the_console_says_no_error_and_nothing_outside_is_asked_for(shown):
    assert shown.errors() == []
    assert outside(shown) == []


def test_the_runs_are_sorted_by_a_setting(shown):
    head = "[...document.querySelectorAll('.runs th')].find(th => th.textContent.includes('lr'))"
    shown.run(f"{head}.querySelector('button').click()")
    column = f"{head}.cellIndex"
    values = shown.run(
        f"[...document.querySelector('.runs').tBodies[0].rows].map(row => row.cells[{column}]"
        ".textContent)"
    )
    assert values == ["0.001"] * 4 + ["0.01"] * 4


def test_a_phone_scrolls_down_only(browser, written):
    phone = Tab(browser, 390, 844)
    phone.open(written / "index.html", DRAWN)
    assert phone.run("document.documentElement.scrollWidth") == 390
    phone.close()
