"""The index and saved notebooks in a real browser with the network taken away."""

import html
import json
import shutil

import pytest

import interp
from analyses.plots.views import Page, View
from interp.pages import write_report
from interp.runs.run import Run
from tests.interp.pages.browser import Tab, empty, outside, press
from tests.interp.pages.written import rewritten


@pytest.fixture
def index(tab, run, tmp_path):
    """An index of three runs that differ in weight decay."""
    runs = []
    for name, decay in (("half", 0.5), ("tenth", 0.1), ("ten", 10.0)):
        folder = shutil.copytree(run.path, tmp_path / name)
        toml = folder / "experiment.toml"
        toml.write_text(toml.read_text().replace("weight_decay = 0.1", f"weight_decay = {decay}"))
        shutil.rmtree(folder / "checkpoints")
        runs.append(Run(folder))
    metrics = runs[2].path / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"test.loss": ', '"test.loss": 1'))
    tab.open(write_report(runs, tmp_path / "report"), "document.querySelector('output')?.value")
    return tab


def names(tab):
    rows = "[...document.querySelectorAll('tbody tr')].filter(row => !row.hidden)"
    return tab.run(f"{rows}.map(row => row.cells[0].textContent)")


def header(text):
    return f"[...document.querySelectorAll('th')].find(th => th.textContent.includes('{text}'))"


def test_the_index_is_sorted_from_the_keyboard(index):
    index.run(f"{header('Differs')}.querySelector('button').focus()")
    press(index, "Enter", "\r")
    assert names(index) == ["tenth", "half", "ten"]
    assert index.run(f"{header('Differs')}.getAttribute('aria-sort')") == "ascending"
    press(index, "Enter", "\r")
    assert names(index) == ["ten", "half", "tenth"]
    assert index.run(f"{header('Differs')}.getAttribute('aria-sort')") == "descending"


def test_the_index_sorts_numbers_as_numbers(index):
    index.run(f"{header('test loss')}.querySelector('button').click()")
    assert names(index)[-1] == "ten"
    assert index.run("document.querySelectorAll('[aria-sort]').length") == 1


def test_the_index_is_filtered_by_words_and_says_how_many_are_left(index):
    index.run("document.getElementById('filter').focus()")
    index.call("Input.insertText", text="weight half")
    assert names(index) == ["half"]
    assert index.run("document.querySelector('output').value") == "1 of 3 runs"
    press(index, "Escape")
    assert index.run("document.querySelector('output').value") == "3 of 3 runs"


@pytest.mark.parametrize("others", [["two_layer_run"], []])
def test_every_column_of_the_index_is_on_the_screen(tab, run, folder, tmp_path, request, others):
    runs = [run, rewritten(folder, "weight_decay = 0.1", "weight_decay = 0.5")]
    runs += map(request.getfixturevalue, others)
    tab.call("Emulation.setDeviceMetricsOverride", width=1400, height=900,
             deviceScaleFactor=1, mobile=False)  # fmt: skip
    tab.open(write_report(runs, tmp_path / "report"))
    hidden = "(card => card.scrollWidth - card.clientWidth)(document.querySelector('.table'))"
    assert tab.run(hidden) == 0


def test_the_index_draws_a_curve_a_run(index):
    assert index.run("document.querySelectorAll('svg.spark polyline').length") == 3


def test_an_index_of_one_run_has_nothing_to_sort_or_to_filter(tab, run, tmp_path):
    tab.open(write_report([run], tmp_path / "report"))
    assert tab.run("document.querySelectorAll('th button').length") == 0
    assert tab.run("document.querySelector('.tools').hidden") is True


@pytest.fixture(scope="module")
def notebook(browser, analysed, tmp_path_factory):
    """A notebook that was saved with the output of `interp.show`, as a dark page shows it."""
    output = interp.show(analysed.snapshot(count=8))._repr_html_()
    cell = {"cell_type": "code", "outputs": [{"data": {"text/html": output.splitlines(True)}}]}
    file = tmp_path_factory.mktemp("notebook") / "saved.ipynb"
    file.write_text(json.dumps({"nbformat": 4, "cells": [cell]}))
    (kept,) = json.loads(file.read_text())["cells"][0]["outputs"]
    shown = file.with_suffix(".html")
    text = "".join(kept["data"]["text/html"])
    shown.write_text(f"<meta charset=utf-8><body style='background: #111'>{text}")
    tab = Tab(browser, 1000, 900, prefers_color_scheme="dark")
    inside = "document.querySelector('iframe')?.contentDocument"
    tab.open(
        shown,
        f"{inside}?.querySelectorAll('.view').length === "
        f"{inside}?.querySelectorAll('.view > *').length && {inside}?.querySelector('.view')",
    )
    yield tab
    tab.close()


def test_a_saved_notebook_is_viewable_without_a_network(notebook):
    inside = notebook.run("document.querySelector('iframe').contentDocument.body.innerText")
    assert "Answers given, coloured by loss" in inside
    assert (notebook.errors(), outside(notebook)) == ([], [])


def test_a_saved_notebook_draws_attention(notebook):
    drawn = """[...document.querySelector('iframe').contentDocument.querySelectorAll('canvas')]
      .some(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v))"""
    notebook.wait(drawn)


def test_views_are_on_white_in_a_dark_notebook(notebook):
    root = "document.querySelector('iframe').contentDocument.documentElement"
    assert notebook.run(f"getComputedStyle({root}).backgroundColor") == "rgb(255, 255, 255)"


def test_frames_of_neurons_are_as_pale_in_a_notebook_as_in_a_report(notebook):
    inside = "document.querySelector('iframe').contentDocument"
    frames = f"[...{inside}.querySelectorAll('[style*=\"1px solid black\"]')]"
    told = notebook.run(f"{frames}.map(frame => getComputedStyle(frame).borderTopColor)")
    assert set(told) == {"rgb(227, 232, 236)"}


def test_every_view_of_a_page_is_drawn(tab, tmp_path):
    attention = [[[1.0, 0.0], [0.25, 0.75]]]
    heads = View("AttentionHeads", {"tokens": ["a", "b"], "attention": attention}, "Heads")
    tokens = View("ColoredTokens", {"tokens": ["<s>", "b"], "values": [0.5, 1.0]}, "Tokens")
    tab.open(Page((heads, tokens, heads, tokens)).save(tmp_path / "page.html"))
    tab.wait("[1, 2, 3, 4].every(i => document.querySelector(`#view-${i} > *`))")
    assert empty(tab, ".view") == []
    assert html.unescape(tab.run("document.getElementById('view-4').innerText")).startswith("<s>")
    assert tab.errors() == []


def test_any_two_numbers_are_plotted_and_a_dot_leads_to_its_run(index):
    index.run("document.getElementById('scatter-fold').open = true")
    node = "document.getElementById('scatter')"
    index.wait(f"{node}.data && {node}.data[0].x.length === 3")
    assert index.run(f"{node}.layout.xaxis.title.text") == "weight decay"
    assert index.run(f"[...{node}.data[0].x]") == [0.5, 0.1, 10]
    first = index.run(f"{node}.data[0].text[0]")
    index.run(f"{node}.emit('plotly_click', {{points: [{{text: {node}.data[0].text[0]}}]}})")
    index.wait("location.pathname.includes('/runs/')")
    assert index.run("document.querySelector('h1').textContent") == first


def test_the_filter_holds_for_dots_too(index):
    index.run("document.getElementById('scatter-fold').open = true")
    index.run("document.getElementById('filter').focus()")
    index.call("Input.insertText", text="weight half")
    index.wait("document.getElementById('scatter').data?.[0].text.join() === 'half'")
