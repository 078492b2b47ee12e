"""Which options does an analysis take, and are these of the right kind?"""

import inspect
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from analyses.result import Analysis

GIVEN = ("snapshot", "series", "table", "axes", "reference")  # not options


def check_options(cls: Analysis, options: Mapping[str, Any]) -> None:
    """Refuses options that an analysis does not take, and values of another type.

    Raises:
        ValueError: The message names the option and what is wanted.
    """
    parameters = inspect.signature(cls.measure).parameters
    known = [name for name in parameters if name not in GIVEN]
    for name, value in options.items():
        if name not in known:
            listed = ", ".join(known) or "none"
            raise ValueError(f"analyses.{cls.__name__}: no option '{name}'; it takes: {listed}")
        wanted = TypeAdapter(
            parameters[name].annotation, config=ConfigDict(arbitrary_types_allowed=True)
        )
        try:
            # As JSON, a list stands for a tuple, while a string stands for no number.
            wanted.validate_json(json.dumps(value, default=str), strict=True)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise ValueError(f"analyses.{cls.__name__}.{name}: {message} (got {value!r})") from None
