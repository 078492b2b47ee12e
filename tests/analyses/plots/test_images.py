import struct
import zlib

import numpy as np
import pytest

from analyses.plots.images import HIGH, LOW, UNDEFINED, colours, picture, png
from analyses.plots.views import Page


def chunks(data):
    """The chunks of a PNG file by name, each checked against its sum."""
    found, place = {}, 8
    while place < len(data):
        (size,) = struct.unpack_from(">I", data, place)
        name, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        assert struct.unpack_from(">I", data, place + 8 + size)[0] == zlib.crc32(name + content)
        found[name] = content
        place += 12 + size
    return found


def test_a_png_holds_its_pixels_row_by_row():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    rows = zlib.decompress(chunks(png(pixels))[b"IDAT"])
    assert rows == b"\0" + bytes(range(9)) + b"\0" + bytes(range(9, 18))


def test_a_png_tells_its_size():
    head = chunks(png(np.zeros((2, 3, 3), np.uint8)))[b"IHDR"]
    assert struct.unpack(">II", head[:8]) == (3, 2)


@pytest.mark.parametrize(
    ("value", "colour"), [(0, LOW), (-1, LOW), (2, HIGH), (9, HIGH), (np.nan, UNDEFINED)]
)
def test_the_limits_are_white_and_blue(value, colour):
    assert tuple(colours(np.array([[float(value)]]), (0, 2))[0, 0]) == colour


def test_matrices_stand_side_by_side():
    view = picture(np.zeros((3, 5, 4)), title="t", caption="", limits=(0, 1))
    assert (view.props["width"], view.props["height"]) == (3 * 4 + 2 * 2, 5)


def test_a_page_of_pictures_needs_no_script_of_circuitsvis():
    page = Page((picture(np.zeros((1, 2, 2)), title='"t"', caption="", limits=(0, 1)),)).html()
    assert "var CircuitsVis=" not in page
    assert '<img class="picture" id="view-1" src="data:image/png;base64,' in page
    assert 'alt="&quot;t&quot;"' in page
