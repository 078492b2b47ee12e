"""Heat maps of weights that follow training, in a real browser with the network taken away."""

import shutil

import numpy as np
import pytest

from analyses import NeuronWeights
from analyses.plots.figures import Figure
from analyses.plots.style import PAPER
from interp.measure.analyze import analyze
from interp.pages import write_report
from interp.runs.results import saved
from interp.runs.run import Run
from tests.interp.pages.browser import DRAWN, Tab, empty, scrub, unfold

SLIDING = "[...document.querySelectorAll('.figure')].filter(f => f.dataset.step)"
READS, WRITES = f"{SLIDING}[0]", f"{SLIDING}[1]"


@pytest.fixture(scope="module")
def parity(parity_run, tmp_path_factory):
    """A network on parity with its weights measured at every kept step."""
    run = Run(shutil.copytree(parity_run.path, tmp_path_factory.mktemp("weights") / "parity"))
    analyze(run, ["NeuronWeights"])
    return run


@pytest.fixture(scope="module")
def page(browser, parity):
    """Its page, everything drawn."""
    index = write_report([parity], parity.path.parent / "report")
    tab = Tab(browser, 1280, 900)
    tab.open(index.parent / "runs" / "parity.html", DRAWN)
    unfold(tab)
    yield tab
    tab.close()


def visible(figure):
    return f"{figure}._fullData.filter(t => t.visible === true)"


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_moved_scrubber_draws_that_steps_weights(page, parity, place):
    (each,) = saved(parity)
    result = each.load(each.steps[place])
    assert isinstance(result, NeuronWeights)
    scrub(page, place)
    page.wait(f"{visible(READS)}[0].index === {place}")
    drawn = page.run(f"{visible(READS)}.map(t => Array.from(t.z, row => Array.from(row)))")
    np.testing.assert_allclose(drawn, [result.reads], rtol=1e-5)
    figure = result.figures()["reads"]
    assert isinstance(figure, Figure)
    heading = page.run(f"document.getElementById({READS}.id + '-title').textContent")
    assert heading == figure["layout"]["title"]["text"]


def test_what_neurons_write_moves_too(page, parity):
    (each,) = saved(parity)
    scrub(page, 0)
    page.wait(f"{visible(WRITES)}[0].index === 0")
    drawn = page.run(f"{visible(WRITES)}.map(t => Array.from(t.y))")
    np.testing.assert_allclose(drawn, each.load(each.steps[0]).writes, rtol=1e-5)


def test_a_weight_of_0_is_paper_at_every_step(page):
    scales = page.run(f"{READS}.data.map(t => [t.zmin + t.zmax, t.colorscale[1][1]])")
    assert len(scales) == 5
    np.testing.assert_allclose([middle for middle, _ in scales], 0, atol=1e-12)
    assert {colour for _, colour in scales} == {PAPER}


def test_names_of_inputs_are_rows_in_order(page):
    ticks = f"[...{READS}.querySelectorAll('.ytick text')]"
    told = page.run(f"{ticks}.map(t => [t.getBoundingClientRect().top, t.textContent])")
    names = [name for _, name in sorted(told)]
    assert names == [*(f"bit {i}" for i in range(6)), "bias"]


def test_the_page_has_pixels_and_no_errors(page):
    assert empty(page, ".drawing.figure") == []
    assert page.errors() == []
