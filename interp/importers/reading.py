"""Reads other people's files without running anything they hold.

A .pt or .pth file is a pickle. `torch.load(weights_only=True)` builds tensors, numbers, strings and
containers from it and refuses the rest; what it refuses is refused here, with the remedy.
"""

import json
import re
import tomllib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

TENSOR_SUFFIXES = (".pt", ".pth", ".safetensors")
TABLE_SUFFIXES = (".json", ".toml", ".pt", ".pth")

TRUST = "if you trust the file, load it where its classes are and save it again"
PLAIN_CONFIG = "json.loads(json.dumps(vars(config), default=str))"
REMEDIES = {
    "Config": f"with the config as a plain dict: {PLAIN_CONFIG}",
    "numpy": "with numbers as float(x) and arrays as torch.from_numpy(x)",
}
ANY_REMEDY = "with tensors, numbers, strings and containers of those only, a model as state_dict()"


def read_file(path: Path) -> Any:
    """What a .pt, .pth or .safetensors file holds, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Its name ends otherwise, it is damaged, or it holds a pickled object.
    """
    if path.suffix not in TENSOR_SUFFIXES:
        raise ValueError(f"{path}: not one of {', '.join(TENSOR_SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        try:
            return load(path.read_bytes())
        except SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file, or damaged: {error}") from None
    return _load(path)


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says of old files is no fault of the user
            return torch.load(path, weights_only=True, map_location="cpu")
    except OSError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise ValueError(_refusal(path, error)) from None


def _refusal(path: Path, error: Exception) -> str:
    pickled = re.search(r"GLOBAL ([\w.]+)", str(error))
    if pickled is None:
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
        return f"{path} cannot be read as tensors and plain values, or is damaged: {reason[:200]}"
    name = pickled[1]
    fitting = (remedy for word, remedy in REMEDIES.items() if word in name)
    return (
        f"{path} holds a pickled {name}, which torch.load(weights_only=True) refuses and nothing "
        f"else is used here; {TRUST} {next(fitting, ANY_REMEDY)}"
    )


def read_table(path: Path) -> dict[str, Any]:
    """A table of options from a .json, .toml, .pt or .pth file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or holds no table.
    """
    if path.suffix not in TABLE_SUFFIXES:
        raise ValueError(f"{path}: not one of {', '.join(TABLE_SUFFIXES)}")
    table = read_file(path) if path.suffix in TENSOR_SUFFIXES else _parsed(path)
    if not isinstance(table, Mapping) or not all(isinstance(name, str) for name in table):
        raise ValueError(f"{path} holds no table of options by name")
    return dict(table)


def _parsed(path: Path) -> Any:
    read = json.loads if path.suffix == ".json" else tomllib.loads
    try:
        return read(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: not {path.suffix.strip('.').upper()}: {error}") from None
