"""Pages in a real browser with the network taken away."""

from io import StringIO

import numpy as np
import pandas as pd
import pytest

from analyses import FourierSpectrum, plots
from analyses.plots.style import DARK, INK, PAPER
from interp.pages import write_report
from interp.runs.results import saved
from tests.interp.conftest import HOSTILE_WORDS
from tests.interp.pages.browser import DRAWN, Tab, empty, ids, outside, scrub, unfold

IS_DARK = f"paper_bgcolor === '{DARK[PAPER]}'"
MOVING = "[...document.querySelectorAll('.figure')].filter(f => f.dataset.step)"
FIRST = f"{MOVING}[0]"


@pytest.fixture(scope="module")
def report(analysed, tmp_path_factory):
    """The report of a run."""
    return write_report([analysed], tmp_path_factory.mktemp("browser") / "report").parent


@pytest.fixture(scope="module")
def page(browser, report):
    """A run's page, everything drawn."""
    tab = Tab(browser, 1280, 900)
    tab.open(report / "runs" / "tiny.html", DRAWN)
    unfold(tab)
    yield tab
    tab.close()


@pytest.fixture(scope="module")
def hostile(browser, hostile_run, tmp_path_factory):
    """The page of a run whose words try to be markup, in a single file."""
    file = tmp_path_factory.mktemp("hostile") / "alone.html"
    tab = Tab(browser, 1280, 900)
    tab.open(write_report([hostile_run], file, single_file=True), DRAWN)
    unfold(tab)
    yield tab
    tab.close()


def test_the_browser_has_no_network(tab, report):
    tab.open(report / "index.html")
    asked = "fetch('https://example.com/').then(() => 'answered', () => 'refused')"
    assert tab.run(asked) == "refused"


def test_every_figure_has_pixels(page):
    assert empty(page, ".drawing.figure") == []


def test_every_view_has_pixels(page):
    assert empty(page, ".drawing.view") == []


def test_the_console_says_no_error(page):
    assert page.errors() == []


def test_nothing_outside_is_asked_for(page):
    assert outside(page) == []


def test_every_entry_of_the_contents_can_be_followed(page):
    missing = "[...document.querySelectorAll('nav a[href^=\"#\"]')].map(a => a.hash.slice(1))"
    assert [name for name in page.run(missing) if name not in ids(page, "section")] == []


def test_a_moved_scrubber_draws_that_steps_saved_result(page, analysed):
    (each,) = [each for each in saved(analysed) if each.cls is FourierSpectrum]
    figure = each.load(each.steps[0]).figures()["embedding"]
    scrub(page, 0)
    visible = f"{FIRST}._fullData.filter(t => t.visible === true)"
    page.wait(f"{visible}[0].index === 0")
    drawn = page.run(f"{visible}.map(trace => Array.from(trace.y))")
    np.testing.assert_allclose(drawn, [figure.data[0].y], rtol=1e-5)
    heading = page.run(f"document.getElementById({FIRST}.id + '-title').textContent")
    assert heading == figure["layout"]["title"]["text"]


def test_every_figure_that_has_steps_stands_at_the_step_of_the_page(page, analysed):
    scrub(page, 2)
    assert page.run(f"{MOVING}.length") > 3
    assert set(page.run(f"{MOVING}.map(f => f.dataset.step)")) == {str(analysed.steps[2])}
    assert page.run("document.querySelector('.scrubber output').textContent") == "20"
    assert "step=20" in page.run("location.hash")


def test_a_link_shows_what_was_seen(tab, report):
    """The step and the open folds stand in the address."""
    place = report / "runs" / "tiny.html"
    tab.open(place, DRAWN)
    tab.run("document.querySelector('section.folded summary').click()")
    scrub(tab, 1)
    tab.wait("location.hash.includes('open=')")
    address = tab.run("location.href")
    fold = tab.run("document.querySelector('details.fold[open]').id")
    tab.call("Page.navigate", url="about:blank")
    tab.call("Page.navigate", url=address)
    tab.wait(DRAWN)
    assert tab.run(f"document.getElementById('{fold}').open") is True
    assert tab.run("document.querySelectorAll('details.fold[open]').length") == 1
    assert set(tab.run(f"{MOVING}.map(f => f.dataset.step)")) == {"10"}


def test_a_finding_leads_to_its_figure(tab, report):
    tab.open(report / "runs" / "tiny.html", DRAWN)
    tab.run("document.querySelector('.first-screen .findings a').click()")
    tab.wait("location.hash")
    target = tab.run("location.hash.slice(1).split('&')[0]")
    top = f"document.getElementById('{target}').closest('figure').getBoundingClientRect().top"
    tab.wait(f"{top} > -50 && {top} < 400")


def test_the_scrubber_plays_from_the_first_step_to_the_last(tab, report):
    tab.open(report / "runs" / "tiny.html", DRAWN)
    tab.run("document.querySelector('.scrubber button').click()")
    tab.wait("document.querySelector('.scrubber output').textContent === '0'")
    tab.wait("document.querySelector('.scrubber output').textContent === '40'")
    tab.wait("document.querySelector('.scrubber button').getAttribute('aria-label') === 'Play'")


@pytest.fixture(scope="module")
def dark(page):
    """The page after it turned dark, with the second step chosen."""
    scrub(page, 1)
    page.call("Emulation.setEmulatedMedia",
              features=[{"name": "prefers-color-scheme", "value": "dark"}])  # fmt: skip
    page.wait(f"[...document.querySelectorAll('.figure')].at(-1)._fullLayout.{IS_DARK}")
    return page


def test_figures_follow_the_page_into_the_dark(dark):
    colours = dark.run(
        f"[...document.querySelectorAll('.figure')].map(f => f._fullLayout.{IS_DARK})"
    )
    assert set(colours) == {True}
    assert dark.run(f"{FIRST}._fullLayout.font.color") == DARK[INK]


def test_a_step_that_was_chosen_stays_when_the_page_turns_dark(dark):
    assert dark.run(f"{FIRST}._fullData.findIndex(t => t.visible === true)") == 1


def test_views_stay_light_in_the_dark(dark):
    """CircuitsVis writes black on white; what the page adds to it must be seen on white too."""
    told = "getComputedStyle(document.querySelector('.view {}')).{}"
    assert dark.run(told.format("h3", "color")) == "rgb(90, 104, 116)"
    framed = told.format('[style*="1px solid black"]', "borderTopColor")
    assert dark.run(framed) == "rgb(227, 232, 236)"


def test_paper_is_white(dark):
    colour = "document.querySelector('.figure')._fullLayout.paper_bgcolor"
    dark.run(f"addEventListener('beforeprint', () => printed = {colour})")
    assert dark.pdf().startswith(b"%PDF")
    assert dark.run("printed") == PAPER


@pytest.fixture
def phone(page):
    """The page on a narrow screen."""
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=844,
              deviceScaleFactor=1, mobile=True)  # fmt: skip
    page.wait("innerWidth === 390")
    yield page
    page.call("Emulation.setDeviceMetricsOverride", width=1280, height=900,
              deviceScaleFactor=1, mobile=False)  # fmt: skip


def test_a_phone_scrolls_down_only(phone):
    assert phone.run("document.documentElement.scrollWidth") == 390


def test_every_number_is_whole_on_a_phone(phone):
    broken = """[...document.querySelectorAll('.scalars td.number:not(.text)')].filter(cell => {
      const range = document.createRange();
      range.selectNodeContents(cell);
      return new Set([...range.getClientRects()].map(box => box.top)).size > 1;
    }).map(cell => cell.textContent)"""
    assert phone.run(broken) == []
    assert phone.run("document.querySelectorAll('.scalars td.number:not(.text)').length") > 50
    hidden = "(card => card.scrollWidth - card.clientWidth)"
    assert phone.run(f"{hidden}(document.querySelector('#numbers .card'))") == 0


@pytest.mark.parametrize("least", [1e-6, 0.3])
def test_ticks_of_a_logarithmic_axis_are_as_large_as_others(tab, tmp_path, least):
    axes = ("step", "loss (nats)")
    drawn = plots.lines([0, 1], {"train": [4.0, least]}, title="Loss", axes=axes, log_y=True)
    drawn.write_html(tmp_path / "figure.html", include_plotlyjs=True)
    tab.open(tmp_path / "figure.html", "document.querySelector('.ytick text')")
    sizes = "[...document.querySelectorAll('.xtick text, .ytick text')]"
    assert set(tab.run(f"{sizes}.map(text => getComputedStyle(text).fontSize)")) == {"12px"}
    assert tab.run("document.querySelectorAll('.ytick text').length") >= 3


def test_words_that_look_like_markup_run_nothing(hostile):
    assert hostile.run("document.title") == "<svg onload=alert(1)>"
    assert hostile.events("Page.javascriptDialogOpening") == []
    assert hostile.run("document.querySelectorAll('main img, main svg[onload]').length") == 0


def test_words_that_look_like_markup_are_read_as_they_are(hostile):
    text = hostile.run("[...document.querySelectorAll('.view')].map(v => v.innerText).join(' ')")
    plain = text.replace("\u00a0", " ")
    assert [word for word in HOSTILE_WORDS if word not in plain] == []


def test_a_single_file_with_hostile_words_draws_everything(hostile):
    assert empty(hostile, ".drawing") == []
    assert hostile.errors() == []


def test_a_single_file_asks_for_no_other(hostile):
    assert [url for url in hostile.requests() if url.startswith("file:")][1:] == []
    assert outside(hostile) == []


def test_the_data_of_a_figure_are_those_of_the_saved_result(page, analysed):
    """What "data" gives is read back as the numbers that are saved, at the page's step."""
    (each,) = [each for each in saved(analysed) if each.cls is FourierSpectrum]
    scrub(page, 1)
    page.run("""HTMLAnchorElement.prototype.click = function () {
      window.taken = [this.download, decodeURIComponent(this.href.split(',').slice(1).join(','))];
    }""")
    page.run(f"{FIRST}.closest('figure').querySelector('[data-take=csv]').click()")
    page.wait("window.taken")
    name, text = page.run("window.taken")
    assert name.endswith("-step-10.csv")
    table = pd.read_csv(StringIO(text))
    result = each.load(10)
    np.testing.assert_array_equal(table["x"], np.arange(1, len(table) + 1))
    np.testing.assert_allclose(table["y"], result.shares[0], rtol=1e-5)


@pytest.mark.parametrize(("form", "begin"), [("svg", "data:image/svg"), ("png", "data:image/png")])
def test_a_figure_can_be_taken_along(page, form, begin):
    page.run("HTMLAnchorElement.prototype.click = function () { window.href = this.href; }")
    page.run(f"{FIRST}.closest('figure').querySelector('[data-take={form}]').click()")
    page.wait(f"(window.href || '').startsWith('{begin}')")
    assert page.run("window.href.length") > 3000


def test_a_figure_says_what_to_cite(page):
    cited = page.run(f"{FIRST}.closest('figure').querySelector('.take details').textContent")
    assert "Nanda et al. 2023" in cited
