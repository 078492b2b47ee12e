"""Axes of results by name, from the annotations of their fields."""

import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from jaxtyping import Float, Int

from analyses.axes import axes_of, dataset_of, frame_of


@dataclass(frozen=True)
class Powers:
    """Powers of two matrices at three steps, with what an analysis may add to them."""

    coordinates: ClassVar = {"matrix": ("W_E", "W_U")}
    rows: ClassVar = ("matrix", "step")
    columns: ClassVar = {}

    steps: Int[np.ndarray, " step"]
    power: Float[np.ndarray, "matrix step"]
    total: Float[np.ndarray, " step"]
    ends: Float[np.ndarray, "end=2 step"]
    share: float = 0.9
    note: str = "planted"

    @property
    def halves(self) -> Float[np.ndarray, "matrix step"]:
        """Half of the power."""
        return self.power / 2


class Halves(Powers):
    columns: ClassVar = {"half": "halves", "share": "share"}


def made(cls=Powers):
    return cls(
        steps=np.array([0, 10, 20]),
        power=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        total=np.array([5.0, 7.0, 9.0]),
        ends=np.zeros((2, 3)),
    )


def test_axes_are_those_of_the_annotation():
    assert axes_of(Powers, "power") == ("matrix", "step")


def test_a_property_has_the_axes_of_what_it_returns():
    assert axes_of(Powers, "halves") == ("matrix", "step")


def test_a_fixed_size_is_no_part_of_an_axis_name():
    assert axes_of(Powers, "ends") == ("end", "step")


def test_an_unknown_field_is_refused():
    with pytest.raises(ValueError, match="Powers has no field or property 'powers'"):
        axes_of(Powers, "powers")


def test_a_table_has_a_row_for_each_place_of_the_axes():
    frame = frame_of(made())
    assert list(frame) == ["matrix", "step", "power", "total"]
    assert frame["matrix"].tolist() == ["W_E"] * 3 + ["W_U"] * 3
    assert frame["step"].tolist() == [0, 10, 20] * 2
    assert frame["power"].tolist() == [1, 2, 3, 4, 5, 6]
    assert frame["total"].tolist() == [5, 7, 9] * 2


def test_a_table_has_the_columns_that_the_class_names():
    frame = frame_of(made(Halves))
    assert list(frame) == ["matrix", "step", "half", "share"]
    assert frame["half"].tolist() == [0.5, 1, 1.5, 2, 2.5, 3]
    assert frame["share"].tolist() == [0.9] * 6


def test_a_dataset_is_selected_from_by_name():
    dataset = dataset_of(made())
    assert float(dataset.power.sel(matrix="W_U", step=10)) == 5
    assert dataset.ends.dims == ("end", "step")
    assert dataset.attrs == {"share": 0.9, "note": "planted"}


def test_a_method_of_an_axis_name_gives_no_coordinates():
    class Measured(Powers):
        coordinates: ClassVar = {}

        def matrix(self):
            """What stands in the way."""

    assert dataset_of(made(Measured)).matrix.values.tolist() == [0, 1]


def test_coordinates_of_another_length_are_refused():
    class Wrong(Powers):
        coordinates: ClassVar = {"matrix": ("W_E",)}

    with pytest.raises(ValueError, match="axis 'matrix' has 2 places, and 1 coordinates"):
        frame_of(made(Wrong))


def test_a_missing_xarray_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"pip install 'interp\[xarray\]'"):
        dataset_of(made())
