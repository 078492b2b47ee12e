"""Brackets matched by a stack, slowly and plainly."""


def partners(brackets, k):
    """Place of each closing bracket's partner, by a stack."""
    stack, found = [], {}
    for place, bracket in enumerate(brackets):
        if bracket <= k:
            stack.append((place, bracket))
        else:
            partner, opened = stack.pop()
            assert opened == bracket - k
            found[place] = partner
    assert not stack
    return found


def structures(brackets, k, in_pieces):
    """Structures of a string as text, by counting."""
    pieces, depth = [""], 0
    for bracket in brackets:
        pieces[-1] += "(" if bracket <= k else ")"
        depth += 1 if bracket <= k else -1
        if depth == 0 and in_pieces:
            pieces.append("")
    return {piece for piece in pieces if piece}
