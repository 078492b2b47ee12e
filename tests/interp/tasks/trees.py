"""What tests ask of gold trees."""


def leaves(tree):
    return [tree] if isinstance(tree, int) else [*leaves(tree[0]), *leaves(tree[1])]


def spans(tree):
    """(first, last) of every pair."""
    if isinstance(tree, int):
        return set()
    inside = leaves(tree)
    return {(inside[0], inside[-1])} | spans(tree[0]) | spans(tree[1])


def is_binary(tree):
    return isinstance(tree, int) or (len(tree) == 2 and all(map(is_binary, tree)))


def right_branching_f1(trees):
    """Share of gold brackets that a tree branching to the right has too, over all sentences."""
    found = [(spans(tree), leaves(tree)) for tree in trees]
    shared = sum(len(gold & {(first, words[-1]) for first in words[:-1]}) for gold, words in found)
    return shared / sum(len(gold) for gold, _ in found)
