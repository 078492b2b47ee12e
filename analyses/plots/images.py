"""A matrix as a picture that needs no script: for what is too large to be drawn interactively."""

import base64
import struct
import zlib

import numpy as np
from jaxtyping import Float, UInt8

from analyses.plots.views import PICTURE, View

LOW, HIGH = (255, 255, 255), (11, 60, 93)  # white, and the palette's first colour
UNDEFINED = (214, 220, 226)
GAP = 2  # cells between two matrices


def picture(
    matrices: Float[np.ndarray, "matrix row column"],
    *,
    title: str,
    caption: str,
    limits: tuple[float, float],
) -> View:
    """Matrices side by side, with one pixel for each cell, first rows on top.

    Args:
        matrices: Values; NaN is grey.
        title: What is seen.
        caption: How to read it.
        limits: Values of white and of full blue.
    """
    gap = np.full((matrices.shape[1], GAP), np.nan)
    pixels = colours(np.hstack([part for matrix in matrices for part in (gap, matrix)][1:]), limits)
    source = "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")
    height, width, _ = pixels.shape
    return View(
        PICTURE,
        {"source": source, "width": width, "height": height},
        title=title,
        caption=caption,
    )


def colours(
    values: Float[np.ndarray, "row column"], limits: tuple[float, float]
) -> UInt8[np.ndarray, "row column 3"]:
    """Values as mixtures of white and blue; those outside the limits look like the limits."""
    low, high = limits
    shares = np.clip((values - low) / (high - low), 0, 1)[..., None]
    mixed = np.array(LOW) + shares * (np.array(HIGH) - np.array(LOW))
    return np.where(np.isnan(mixed), np.array(UNDEFINED), mixed).round().astype(np.uint8)


def png(pixels: UInt8[np.ndarray, "row column 3"]) -> bytes:
    """An image file.

    Source:
        PNG specification (W3C 2003): chunks IHDR, IDAT, IEND; filter type 0 before each row.
    """
    height, width, _ = pixels.shape
    rows = np.hstack([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
