import html
import json
import math
import re
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from analyses.plots import views
from analyses.plots.views import CANVAS, RAW_HTML, Page, View, bundle, mount, script_json, view_data

HOSTILE = "</script><script>alert(1)</script>"
ATTENTION = [[[1.0, 0.0], [0.25, 0.75]]]


def colored(*tokens, **props):
    values = [0.0] * len(tokens)
    return View("ColoredTokens", {"tokens": list(tokens), "values": values} | props, "Tokens")


def heads(*tokens):
    return View("AttentionHeads", {"tokens": list(tokens), "attention": ATTENTION}, "Heads")


def tokens_of(view):
    return view_data(view)["props"]["tokens"]


@pytest.mark.parametrize("component", RAW_HTML + CANVAS)
def test_the_bundle_exports_every_component(component):
    assert f"{component}:()=>" in bundle()


def test_the_bundle_makes_a_global():
    assert "var CircuitsVis=" in bundle()


def test_the_bundle_cannot_end_its_script_element():
    assert "</script" not in bundle().lower()


def test_the_bundle_names_no_source_map():
    assert "sourceMappingURL" not in bundle()


def test_a_missing_bundle_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(views, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install"):
        bundle()


def test_a_package_without_its_bundle_is_the_same_error(monkeypatch, tmp_path):
    spec = ModuleSpec("circuitsvis", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(views, "find_spec", lambda name: spec)
    with pytest.raises(FileNotFoundError, match="bundle"):
        bundle()


def test_angle_brackets_are_text_in_components_that_insert_markup():
    assert tokens_of(colored("<bos>", "a&b")) == ["&lt;bos&gt;", "a&amp;b"]


def test_angle_brackets_stay_on_a_canvas():
    assert tokens_of(heads("<bos>", "</script>")) == ["<bos>", "</script>"]


def test_nested_tokens_are_escaped_too():
    view = View("TopkSamples", {"tokens": [[[["<s>"]]]], "activations": [[[[1.0]]]]}, "Top")
    assert tokens_of(view) == [[[["&lt;s&gt;"]]]]


def test_newlines_and_tabs_become_visible():
    assert tokens_of(colored("\n", "a\tb")) == ["↵", "a⇥b"]


def test_numbers_keep_four_digits():
    assert view_data(colored(maxValue=0.123456789))["props"]["maxValue"] == 0.1235


def test_small_numbers_keep_four_digits():
    assert view_data(colored(maxValue=1.23456789e-7))["props"]["maxValue"] == 1.235e-7


def test_arrays_become_lists():
    assert view_data(colored(values=np.array([0.5, 1.0])))["props"]["values"] == [0.5, 1.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match=r"props\.values of view 'Tokens' holds"):
        view_data(colored(values=[value]))


def test_something_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match="holds a set"):
        view_data(colored(values={1.0}))


def test_an_unknown_component_is_refused():
    with pytest.raises(ValueError, match="no 'Attention'; it has AttentionHeads"):
        view_data(View("Attention", {}, "Nothing"))


def test_measuring_leaves_the_view_as_it_was():
    view = colored("<bos>")
    view_data(view)
    assert view.props["tokens"] == ["<bos>"]


def test_script_json_holds_no_angle_bracket():
    assert "<" not in script_json([HOSTILE, "<!--"])


def test_script_json_escapes_line_separators():
    assert script_json("\u2028\u2029") == '"\\u2028\\u2029"'


def test_script_json_reads_back():
    value = {"tokens": [HOSTILE, "\u2028", "é"], "values": [0.5, None, True]}
    assert json.loads(script_json(value)) == value


def test_a_mount_script_draws_into_its_element():
    assert mount(heads("a", "b"), "view-7").startswith(
        'CircuitsVis.render("view-7", CircuitsVis.AttentionHeads, {'
    )


def test_every_view_has_a_closed_element_of_its_own():
    page = Page((heads("a", "b"), colored("a"))).html()
    assert re.findall(r'<div class="view" id="([^"]+)"></div>', page) == ["view-1", "view-2"]


def test_every_view_is_mounted():
    page = Page((heads("a", "b"), colored("a"))).html()
    assert re.findall(r'CircuitsVis\.render\("(view-\d)"', page) == ["view-1", "view-2"]


def test_a_page_holds_the_bundle_once():
    page = Page((heads("a", "b"), colored("a"))).html()
    assert page.count("var CircuitsVis=") == 1


def test_a_page_has_no_script_but_its_own_two():
    page = Page((heads(HOSTILE, "b"), colored(HOSTILE))).html()
    assert len(re.findall(r"</script", page, re.IGNORECASE)) == 2


def test_titles_and_captions_are_escaped():
    page = Page((View("AttentionHeads", {}, title=HOSTILE, caption=HOSTILE),)).html()
    assert HOSTILE not in page


def test_a_page_asks_for_nothing_outside():
    page = Page((heads("a", "b"),)).html()
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", page)


def test_the_same_views_give_the_same_page():
    assert Page((heads("a", "b"),)).html() == Page((heads("a", "b"),)).html()


def test_an_empty_page_is_a_page():
    assert "<title>No views</title>" in Page(()).html()


def test_a_saved_page_is_the_page(tmp_path):
    page = Page((heads("a", "b"),))
    assert page.save(tmp_path / "page.html").read_text("utf-8") == page.html()


def test_an_earlier_page_is_replaced(tmp_path):
    for titles in ("a", "b"):
        Page((heads(titles),)).save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == Page((heads("b"),)).html()


@pytest.mark.parametrize("content", ["# my experiment", "", "<!doctype html><title>mine</title>"])
def test_somebodys_file_is_not_replaced_by_a_page(tmp_path, content):
    (tmp_path / "notes").write_text(content)
    with pytest.raises(ValueError, match="/notes is something else than a page of views; choose"):
        Page((heads("a"),)).save(tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == content


def test_a_page_is_not_written_through_a_link(tmp_path):
    page = Page((heads("a"),))
    (tmp_path / "link").symlink_to(page.save(tmp_path / "page.html"))
    with pytest.raises(ValueError, match="/link is something else than a page of views"):
        page.save(tmp_path / "link")


def test_a_notebook_gets_the_page_in_a_frame():
    frame = re.fullmatch(r'<iframe srcdoc="([^"]*)" [^<>]*></iframe>', heads("a")._repr_html_())
    assert frame is not None
    assert html.unescape(frame[1]) == Page((heads("a"),)).html()
