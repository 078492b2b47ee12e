import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.tasks.language.dyck import distances, draw, parse
from tests.interp.tasks import trees
from tests.interp.tasks.brackets import partners, structures
from tests.interp.tasks.samples import shares, unlike

STRINGS = st.builds(
    lambda k, depth, seed: (k, depth, draw(k, depth, 20, np.random.default_rng(seed))),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 2**32),
)


@given(STRINGS)
def test_every_bracket_is_closed_by_one_of_its_type(drawn):
    k, _, found = drawn
    for key in found.row_keys():
        partners(key, k)


@given(STRINGS)
def test_no_string_is_deeper_than_it_may_be_or_shorter_than_four(drawn):
    k, depth, found = drawn
    for key in found.row_keys():
        assert np.cumsum(np.where(np.frombuffer(key, np.uint8) <= k, 1, -1)).max() <= depth
        assert len(key) >= 4


@given(STRINGS, st.booleans())
def test_structures_are_the_open_close_sequences(drawn, in_pieces):
    k, _, found = drawn
    expected = [structures(key, k, in_pieces) for key in found.row_keys()]
    got = [
        {"".join(")("[each] for each in piece) for piece in pieces}
        for pieces in found.structures(in_pieces)
    ]
    assert got == expected


def test_at_depth_one_the_number_of_pairs_is_geometric_from_two_on():
    found = draw(2, 1, 20_000, np.random.default_rng(0))
    published = {2 * n: 0.5 ** (n - 1) for n in range(2, 8)}
    lengths = shares(found.lengths)
    assert not unlike({n: lengths[n] for n in published}, published, 20_000, 10**9)


@given(STRINGS)
@settings(max_examples=30)
def test_distances_are_those_to_the_partner(drawn):
    k, depth, found = drawn
    for key in found.row_keys():
        brackets = torch.tensor(list(key))[None]
        expected = [0] * len(key)
        for place, partner in partners(key, k).items():
            expected[place] = place - partner
        assert distances(brackets, k, depth)[0].tolist() == expected


@given(STRINGS)
@settings(max_examples=30)
def test_every_tree_is_binary_and_holds_each_bracket_once(drawn):
    k, _, found = drawn
    for key in found.row_keys():
        tree = parse([bracket <= k for bracket in key], 1)
        assert trees.is_binary(tree)
        assert trees.leaves(tree) == list(range(1, len(key) + 1))


@given(STRINGS)
@settings(max_examples=30)
def test_each_pair_of_brackets_spans_a_constituent(drawn):
    k, _, found = drawn
    for key in found.row_keys():
        pairs = {(partner, place) for place, partner in partners(key, k).items()}
        assert pairs <= trees.spans(parse([bracket <= k for bracket in key], 0))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("()", (0, 1)),
        ("()()", ((0, 1), (2, 3))),
        ("()()()", ((0, 1), ((2, 3), (4, 5)))),
        ("(()())", (0, ((1, 2), ((3, 4), 5)))),
        ("(", 0),
        ("((", (0, 1)),
        ("()(()", ((0, 1), (2, (3, 4)))),
    ],
)
def test_trees_branch_to_the_right(text, tree):
    assert parse([each == "(" for each in text], 0) == tree
