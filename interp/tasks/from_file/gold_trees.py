"""Gold trees in a file: bracketed texts, nested lists, or spans, all over positions.

`((0 1) 2)`, `[[0, 1], 2]` and the half-open spans `[[0, 3], [0, 2]]` are one tree. The leaves of a
bracketed text may be words that stand in a row among the example's words.
"""

from collections.abc import Sequence
from typing import Any

from hooks import Tree
from interp.tasks.from_file.sources import Source, brief, parsed


def gold_trees(
    source: Source, words: tuple[tuple[str, ...], ...] | None
) -> tuple[Tree, ...] | None:
    """Gold parses; None where the file has none.

    Args:
        source: The file.
        words: The words of each example, among which leaves that are no positions are looked for.

    Raises:
        ValueError: A tree is none; the message names its place in the file.
    """
    names = [name for name in ("tree", "spans") if name in source.columns]
    if len(names) > 1:
        raise source.fault("spans", None, "tree says the same: leave one of them out")
    if not names:
        return None
    (name,) = names
    trees = []
    for row, value in enumerate(source.columns[name]):
        try:
            if name == "spans":
                trees.append(_tree_of_spans(parsed(source, name, row, value)))
            elif isinstance(value, str) and value.lstrip()[:1] not in ("", "["):
                trees.append(_tree_of_text(value, () if words is None else words[row]))
            else:
                trees.append(_tree_of_lists(parsed(source, name, row, value)))
        except ValueError as error:
            raise source.fault(name, row, str(error).removeprefix("text: ")) from None
    return tuple(trees)


def _tree_of_spans(spans: Any) -> Tree:
    from analyses.trees.brackets import tree_of  # most files have no trees

    try:
        pairs = [(int(start), int(stop)) for start, stop in spans]
    except (TypeError, ValueError):
        raise ValueError(
            f"{brief(spans)}; give pairs [start, stop), such as [[0, 3], [0, 2]]"
        ) from None
    if not pairs:
        raise ValueError("there are no spans; give every bracket, the whole among them")
    return tree_of(pairs, min(start for start, _ in pairs), max(stop for _, stop in pairs))


def _tree_of_text(text: str, words: Sequence[str]) -> Tree:
    """The tree of a bracketed text, whose leaves are positions, or words that stand in a row."""
    from analyses.trees.brackets import from_brackets, tree_of

    spans, leaves = from_brackets(text)
    if all(leaf.isdecimal() for leaf in leaves):
        first, places = int(leaves[0]), [int(leaf) for leaf in leaves]
        if places != list(range(first, first + len(places))):
            raise ValueError(f"the positions {places[:8]} are not one after the other; give all")
    else:
        starts = [
            at for at in range(len(words)) if tuple(words[at : at + len(leaves)]) == tuple(leaves)
        ]
        if len(starts) != 1:
            raise ValueError(
                f"'{text[:80]}': its leaves are no positions, and stand in words at {len(starts)} "
                "places; give positions, such as ((0 1) 2)"
            )
        (first,) = starts
    moved = [(start + first, stop + first) for start, stop in spans]
    return tree_of(moved, first, first + len(leaves))


def _tree_of_lists(value: Any) -> Tree:
    """Nested lists of positions as nested tuples."""
    if isinstance(value, list) and value:
        return tuple(_tree_of_lists(part) for part in value)
    if type(value) is not int:
        raise ValueError(
            f"{brief(value)}; give a text such as ((0 1) 2), or lists such as [[0, 1], 2]"
        )
    return value
