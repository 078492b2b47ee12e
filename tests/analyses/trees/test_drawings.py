import pytest

from analyses import plots
from analyses.trees.drawings import TwoTrees, side_by_side

LEFT = TwoTrees(("a", "b", "c"), ((0, 3), (0, 2)), ((0, 3), (1, 3)), "first")
SAME = TwoTrees(("d", "<e>"), ((0, 2),), ((0, 2),), "<second>")


def traces(*pairs):
    figure = side_by_side(pairs, ("gold", "found"), title="Trees")
    return plots.as_data(figure)["data"]


def test_words_stand_one_below_the_other_in_the_middle():
    words = traces(LEFT)[4]
    assert words["x"] == [0, 0, 0]
    assert [y - words["y"][0] for y in words["y"]] == pytest.approx([0, 1, 2])


def test_the_first_tree_is_at_the_left_and_the_second_at_the_right():
    _, shared, _, single, _, _ = traces(LEFT)
    assert sorted(shared["x"]) == pytest.approx([-1, 1])  # the whole, in both trees
    assert dict(zip(single["text"], (x < 0 for x in single["x"]), strict=True)) == {
        "a b": True, "b c": False,
    }  # fmt: skip


def test_a_node_is_between_its_parts():
    _, shared, _, single, words, _ = traces(LEFT)
    a, b, c = words["y"]
    rows = dict(zip(single["text"], single["y"], strict=True))
    assert rows == {"a b": pytest.approx((a + b) / 2), "b c": pytest.approx((b + c) / 2)}
    assert shared["y"] == pytest.approx([(rows["a b"] + c) / 2, (a + rows["b c"]) / 2])


def test_brackets_of_one_tree_alone_differ_in_colour_dash_and_mark():
    shared_lines, shared, single_lines, single, *_ = traces(LEFT)
    assert shared_lines["line"]["dash"] != single_lines["line"]["dash"]
    assert shared_lines["line"]["color"] != single_lines["line"]["color"]
    assert shared["marker"]["symbol"] != single["marker"]["symbol"]


def test_sentences_do_not_overlap():
    words = traces(LEFT, SAME)[4]
    assert words["y"][3] - words["y"][2] > 2


def test_text_stays_text():
    *_, words, headings = traces(SAME)
    assert headings["text"] == ["<b>&lt;second&gt;</b>"]
    assert words["text"] == ["d", "&lt;e&gt;"]


def test_every_tree_is_within_the_axes():
    figure = plots.as_data(side_by_side((LEFT, SAME), ("gold", "found"), title="Trees"))
    for axis in "xy":
        values = [
            each for trace in figure["data"] for each in trace[axis] if each is not None
        ]  # fmt: skip
        low, high = sorted(figure["layout"][f"{axis}axis"]["range"])
        assert low < min(values)
        assert max(values) < high
