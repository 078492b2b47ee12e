"""Names of the axes of a result's arrays, and what stands along them.

The annotations name the axes: `power: Float[np.ndarray, "matrix frequency"]` has a matrix on the
first and a frequency on the second. What stands along an axis (its coordinates) is, in this order,
what the class says in `coordinates`, the result's attribute of the axis' name or its plural
(`steps` along `step`), or 0, 1, 2, ... From these come a tidy table and xarray's `Dataset`.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas
    import xarray

Coordinates = Mapping[str, str | Sequence[Any]]


@cache
def axes_of(cls: type, attribute: str) -> tuple[str, ...] | None:
    """Names of the axes of a field or property: no names for a number, None if it is no array.

    An axis of fixed size may be written `end=2`; one without a name is `<attribute>_<place>`.

    Raises:
        ValueError: The class has no such field or property.
    """
    value = getattr(cls, attribute, None)
    if isinstance(value, property) and value.fget is not None:
        annotation = typing.get_type_hints(value.fget).get("return")
    else:
        annotation = typing.get_type_hints(cls).get(attribute)
    if annotation is None:
        raise ValueError(f"{cls.__name__} has no field or property '{attribute}' with a type")
    if annotation in (bool, int, float, str):
        return ()
    if not hasattr(annotation, "dim_str"):
        return None
    return tuple(
        f"{attribute}_{place}" if axis.isdecimal() else axis.partition("=")[0]
        for place, axis in enumerate(annotation.dim_str.split())
    )


def coordinates_of(result: Any, axis: str, size: int) -> np.ndarray:
    """What stands along an axis of a result.

    Raises:
        ValueError: The class states coordinates, but more or fewer than the axis has places.
    """
    stated = result.coordinates.get(axis)
    if isinstance(stated, str):
        stated = getattr(result, stated)
    if stated is not None:
        if len(stated) != size:
            raise ValueError(
                f"{type(result).__name__}: axis '{axis}' has {size} places, and {len(stated)} "
                "coordinates are there"
            )
        return _flat(stated)
    for name in (axis, f"{axis}s"):
        values = getattr(result, name, ())
        if not callable(values) and (flat := _flat(values)).shape == (size,):
            return flat
    return np.arange(size)


def frame_of(result: Any) -> "pandas.DataFrame":
    """A table with one row for each place of the axes that the class calls `rows`.

    Its columns are what stands along these axes, then `columns` of the class (a column's name and
    the field or property it shows), or, where it names none, every array field with no other axes.
    """
    import pandas

    cls = type(result)
    arrays = _arrays(result)
    rows = cls.rows or next(iter(arrays.values()), ())
    along = {name for axis in rows for name in (axis, f"{axis}s", cls.coordinates.get(axis))}
    shown = cls.columns or {
        name: name for name, axes in arrays.items() if set(axes) <= set(rows) and name not in along
    }
    axes = {column: axes_of(cls, attribute) or () for column, attribute in shown.items()}
    values = {column: np.asarray(getattr(result, shown[column])) for column in shown}
    sizes = {
        axis: size
        for column, names in axes.items()
        for axis, size in zip(names, values[column].shape, strict=True)
    }
    indices = np.indices([sizes[axis] for axis in rows])
    places = {axis: place.ravel() for axis, place in zip(rows, indices, strict=True)}
    table = {axis: coordinates_of(result, axis, sizes[axis])[places[axis]] for axis in rows}
    for column, names in axes.items():
        index = tuple(places[axis] for axis in names)
        table[column] = values[column][index] if index else values[column].item()
    return pandas.DataFrame(table)


def dataset_of(result: Any) -> "xarray.Dataset":
    """Every array field with its axes and what stands along them; numbers and text as attributes.

    Raises:
        ImportError: xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise ImportError("to_xarray needs xarray: pip install 'interp[xarray]'") from None
    arrays = _arrays(result)
    values = {name: getattr(result, name) for name in arrays}
    sizes = {
        axis: size
        for name, axes in arrays.items()
        for axis, size in zip(axes, values[name].shape, strict=True)
    }
    return xarray.Dataset(
        {
            name: (axes, values[name])
            for name, axes in arrays.items()
            if axes[0] in result.coordinates or axes not in ((name,), (name.removesuffix("s"),))
        },
        coords={axis: coordinates_of(result, axis, size) for axis, size in sizes.items()},
        attrs={
            field.name: value
            for field in dataclasses.fields(result)
            if isinstance(value := getattr(result, field.name), int | float | str)
        },
    )


def _arrays(result: Any) -> dict[str, tuple[str, ...]]:
    """The array fields of a result, with the names of their axes."""
    names = [field.name for field in dataclasses.fields(result)]
    return {name: axes for name in names if (axes := axes_of(type(result), name))}


def _flat(values: Any) -> np.ndarray:
    """Coordinates as an array of one axis, even if they are tuples."""
    if isinstance(values, np.ndarray) or not any(isinstance(value, tuple) for value in values):
        return np.asarray(values)
    flat = np.empty(len(values), dtype=object)
    flat[:] = values
    return flat
