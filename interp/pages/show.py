"""A page with attention and tokens of a snapshot, drawn by CircuitsVis without a network."""

from analyses import ExampleViews
from analyses.plots.views import Page, View
from hooks import Snapshot


def show(snapshot: Snapshot) -> Page:
    """The first 8 examples' tokens coloured by loss, active neurons, and attention on the first 2.

    Args:
        snapshot: A model with attention on tokens.

    Returns:
        A page that a notebook displays, and that `save` writes to a file. Neither needs a network.

    Raises:
        ValueError: The model has no attention, or the examples no tokens.
    """
    drawings = ExampleViews.measure(snapshot).figures().values()
    return Page(tuple(drawing for drawing in drawings if isinstance(drawing, View)))
