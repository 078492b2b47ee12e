"""A layout by a table of the user's, for state_dicts of a code that is not known here.

    zero_biases = true
    ignored = ["rope.freqs"]

    [tensors]
    "embed.W_E" = "tok.weight"
    "unembed.W_U" = { from = "head.weight", rearrange = "vocab model -> model vocab" }

    [tensors."blocks.{layer}.attn.W_Q"]
    from = "layers.{layer}.q.weight"
    rearrange = "(head d_head) d_model -> head d_model d_head"
    sizes = { head = 4 }

Each parameter under HookedTransformer's name is found in one tensor. A tensor that is in no row and
not ignored is refused, and so is a parameter that no row gives.
"""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from interp.config import read_toml
from interp.config.experiment import readable
from interp.importers.layouts import Layout, Options, State
from interp.importers.layouts.base import (
    LAYER,
    Source,
    mapped,
    with_zero_biases,
    with_zero_norm_biases,
)

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


class Row(BaseModel):
    """Where one parameter is found; a name alone stands for a tensor that is as ours."""

    model_config = STRICT

    name: str = Field(alias="from")
    rearrange: str = Field(default="", pattern=r"^$|->")
    index: int | None = Field(default=None, ge=0)
    sizes: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, row: Any) -> Any:
        return {"from": row} if isinstance(row, str) else row


class MappingFile(BaseModel):
    """A table that says which tensor of a file is which parameter.

    Attributes:
        tensors: For each parameter under HookedTransformer's name, the name of its tensor, or a
            table with `from`, an einops pattern `rearrange`, `sizes` of axes that it splits, and
            the `index` on the first axis after that. `{layer}` is a block's number.
        ignored: Names of tensors that are no parameters; `{layer}` is a block's number.
        zero_biases: Whether biases that no row gives are zeros.
        has_norm_biases: With zero_biases, whether layer norms without a bias have one of zeros;
            false for RMS norms, which have none.
    """

    model_config = STRICT

    tensors: dict[str, Row] = Field(min_length=1)
    ignored: list[str] = []
    zero_biases: bool = False
    has_norm_biases: bool = False

    def table(self) -> dict[str, Source]:
        """The rows as sources.

        Raises:
            ValueError: A row is for every block and its tensor is not, or the reverse.
        """
        for ours, row in self.tensors.items():
            if (LAYER in ours) != (LAYER in row.name):
                raise ValueError(f"tensors.{ours} and {row.name!r}: {LAYER} stands in only one")
        return {
            ours: Source(row.name, row.rearrange, row.index, row.sizes)
            for ours, row in self.tensors.items()
        }


def mapping_layout(path: Path) -> Layout:
    """The layout of a TOML file with such a table.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not TOML, or a field is unknown or wrong.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        mapping = MappingFile.model_validate(read_toml(path))
        table = mapping.table()
    except ValidationError as error:
        raise ValueError(f"{path}: {readable(error)}") from None
    except ValueError as error:
        raise ValueError(
            f"{path}: {error}" if str(path) not in str(error) else str(error)
        ) from None
    ignored = "|".join(
        re.escape(name).replace(re.escape(LAYER), r"[0-9]+") for name in mapping.ignored
    )

    def parameters(state: State, stated: Options) -> dict[str, Tensor]:
        found = mapped(state, table, ignored=ignored or r"(?!)")
        if mapping.zero_biases:
            found = with_zero_biases(found)
        return with_zero_norm_biases(found) if mapping.has_norm_biases else found

    return Layout(
        name="mapping",
        fits=lambda state, config: True,
        parameters=parameters,
        asked=("attention_dir",),
    )
