"""Types of the fields in an experiment's file.

TOML tells 3 from "3", 3.0 and true, so values are not converted: a string is no number, and a
number no truth value. Only two things are: whole numbers may stand for real ones, and lists for
tuples.
"""

from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field, Strict

T = TypeVar("T")

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)
MAX_STEPS = 10**9  # optimiser updates: weeks of the smallest model
MIN_SCALE, MAX_NUMBER = 1e-15, 1e15  # float32 can hold squares and products of such numbers

Several = Annotated[tuple[T, ...], Strict(False)]  # a list in the file
Pair = Annotated[tuple[T, T], Strict(False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch's generators take
StepCount = Annotated[int, Field(ge=0, le=MAX_STEPS)]
Updates = Annotated[int, Field(ge=1, le=MAX_STEPS)]
# Whether so large a count fits into memory is checked elsewhere.
Count = Annotated[int, Field(ge=1, le=2**40)]
TwoOrMore = Annotated[int, Field(ge=2, le=2**40)]
Number = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Amount = Annotated[float, Field(ge=0, le=MAX_NUMBER)]
Scale = Annotated[float, Field(ge=MIN_SCALE, le=MAX_NUMBER)]
