"""Types of the fields that stand in an experiment's file.

TOML tells 3 from "3", 3.0 and true, so what is read from it is taken as it was written: a string is
no number and a number no truth value. Whole numbers are numbers, and lists stand for tuples.
"""

from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field, Strict

T = TypeVar("T")

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)
MOST_STEPS = 10**9  # optimiser updates: weeks of the smallest model
LEAST, MOST = 1e-15, 1e15  # of numbers whose squares and products float32 still holds

Several = Annotated[tuple[T, ...], Strict(False)]  # a list in the file
Pair = Annotated[tuple[T, T], Strict(False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch's generators take
StepCount = Annotated[int, Field(ge=0, le=MOST_STEPS)]
Updates = Annotated[int, Field(ge=1, le=MOST_STEPS)]
Count = Annotated[int, Field(ge=1, le=2**40)]  # what that many need of memory is checked apart
TwoOrMore = Annotated[int, Field(ge=2, le=2**40)]
Number = Annotated[float, Field(ge=-MOST, le=MOST)]
Amount = Annotated[float, Field(ge=0, le=MOST)]
Scale = Annotated[float, Field(ge=LEAST, le=MOST)]
