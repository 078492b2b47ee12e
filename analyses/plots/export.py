"""A figure as a file for a paper, by plotly's own export with an installed Chromium."""

import re
from pathlib import Path

from analyses.plots.figures import Figure
from analyses.plots.style import HEIGHT, TICK_SIZE

DPI = 96  # pixels of an inch in a browser
PRINT_SCALE = 4  # pixels of a PNG over those of the page: 384 dots an inch
SHAPE = 0.62  # height over width, where no height is given
UNITS = {"in": DPI, "cm": DPI / 2.54, "mm": DPI / 25.4, "pt": DPI / 72, "px": 1.0}
FORMATS = (".pdf", ".svg", ".png")
MARGIN_ON_PAPER = {"l": 44, "r": 8, "t": 8, "b": 36}  # pixels
GET_KALEIDO = "figures for papers need plotly's exporter: .venv/bin/pip install -e '.[figures]'"
GET_CHROMIUM = (
    "figures for papers are drawn by a Chromium, and none is found: install one "
    "(`apt-get install -y chromium`, or `plotly_get_chrome`)"
)


def pixels(length: str) -> float:
    """Pixels of a length such as 3.25in, 8cm, 82mm, 240pt.

    Raises:
        ValueError: It is no length.
    """
    match = re.fullmatch(r"([0-9]*\.?[0-9]+) *(in|cm|mm|pt|px)", length.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"length {length!r}: give a number and in, cm, mm, pt or px, as in 3.25in")
    return float(match[1]) * UNITS[match[2]]


def write_figure(
    figure: Figure, path: Path, *, width: float, height: float | None = None, title: bool = False
) -> None:
    """Writes a figure as vectors with embedded fonts (PDF), as SVG, or as PNG.

    Args:
        figure: The figure.
        path: The file; its ending says the format.
        width: Width in pixels (`pixels`), of which an inch has 96; letters at ticks are 9 points.
        height: Height in pixels; in proportion where left out.
        title: Whether the title stands above it, which in a paper the caption says.

    Raises:
        ValueError: The format is unknown, or the exporter or a Chromium is missing.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"{path}: a figure is written as {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is no folder: make it first")
    tall = figure.layout.height or HEIGHT
    height = height or (SHAPE * width if tall <= HEIGHT else width * tall / (HEIGHT / SHAPE))
    font = {"family": "Helvetica, Arial, Liberation Sans, sans-serif", "size": TICK_SIZE}
    drawn = Figure(figure).update_layout(width=width, height=height, font=font)
    if not title:
        drawn.update_layout(title=None, margin=MARGIN_ON_PAPER)
    try:
        drawn.write_image(path, scale=PRINT_SCALE if path.suffix == ".png" else 1)
    except Exception as error:
        said = f"{type(error).__name__} {error}".lower()
        if "kaleido" in said and "chrome" not in said:
            raise ValueError(GET_KALEIDO) from None
        if "chrome" in said or "browser" in said:
            raise ValueError(GET_CHROMIUM) from None
        raise
