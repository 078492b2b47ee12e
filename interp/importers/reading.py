"""Reads other people's files without running anything in them.

A .pt or .pth file is a pickle. `torch.load(weights_only=True)` builds only tensors, numbers,
strings and containers from it. What it refuses is refused here too, with a remedy. Before torch
2.10 a crafted file could still write beyond its memory (CVE-2026-24747), so that no pickles are
read with older versions.
"""

import io
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from interp.config import read_toml

TENSOR_SUFFIXES = (".pt", ".pth", ".safetensors", ".npz")
TABLE_SUFFIXES = (".json", ".toml", ".pt", ".pth")

TRUST = "if you trust the file, load it where its classes are and save it again"
PLAIN_CONFIG = "json.loads(json.dumps(vars(config), default=str))"
REMEDIES = {
    "Config": f"with the config as a plain dict: {PLAIN_CONFIG}",
    "numpy": "with numbers as float(x) and arrays as torch.from_numpy(x)",
}
SAFE_TORCH = (2, 10)
ANY_REMEDY = "with tensors, numbers, strings and containers of those only, a model as state_dict()"


def read_file(path: Path, pickles: tuple[str, ...] = ()) -> Any:
    """The content of a .pt, .pth, .safetensors or .npz file, on the CPU.

    Args:
        path: The file.
        pickles: Further endings of names, of files that are read as .pt files are.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Its name ends otherwise, it is damaged, or it holds a pickled object, or a
            tensor that is not an ordinary array of numbers.
    """
    suffixes = (*TENSOR_SUFFIXES, *pickles)
    if path.suffix not in suffixes:
        raise ValueError(f"{path}: not one of {', '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a file: move or rename it")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        try:
            content = load(path.read_bytes())
        except SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file, or damaged: {error}") from None
        except (KeyError, TypeError) as error:  # torch lacks this type of numbers
            raise ValueError(f"{path} holds numbers that are unknown here: {error}") from None
    elif path.suffix == ".npz":
        content = _arrays(path)
    else:
        content = _load(path)
    for place, tensor in _tensors(content):
        fault = _fault(tensor)
        if fault:
            raise ValueError(f"{path}: {place[:200] or 'it'} {fault}")
    return content


def _arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of an npz file; arrays of Python's objects are pickles, and refused."""
    try:
        arrays = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        names = arrays.files if isinstance(arrays, np.lib.npyio.NpzFile) else ()
        return {name: torch.from_numpy(np.array(arrays[name])) for name in names}
    except TypeError as error:  # text, or numbers that torch lacks
        raise ValueError(f"{path} holds an array that is no numbers: {error}") from None
    except Exception as error:  # a damaged file may fail in any way
        if isinstance(error, OSError) and error.filename:
            raise  # the file cannot be opened
        reason = " ".join(str(error).split())[:200]
        if "pickle" in reason or "Object arrays" in reason:
            reason = "an array of Python objects is a pickle; save arrays of numbers"
        raise ValueError(f"{path} cannot be read as arrays, or is damaged: {reason}") from None


def _load(path: Path) -> Any:
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_TORCH:
        raise ValueError(
            f"{path} is a pickle, which torch {torch.__version__} does not read safely: "
            "pip install 'torch>=2.10', or save the tensors as .safetensors"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about old files are not for the user
            return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged pickle may fail in any way
        if isinstance(error, OSError) and error.filename:
            raise  # the file cannot be opened
        raise ValueError(_refusal(path, error)) from None


def _tensors(content: Any) -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested containers, with their places; a container is visited once."""
    waiting, seen = [("", content)], set()
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, Tensor):
            yield place, value
            continue
        if not isinstance(value, Mapping | list | tuple | set) or id(value) in seen:
            continue
        seen.add(id(value))
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        waiting += [(f"{place}.{name}" if place else str(name), part) for name, part in items]


def _fault(tensor: Tensor) -> str | None:
    """Why a tensor is not an array with every number stored; None where it is."""
    remedy = "save it again as an ordinary tensor"
    if tensor.is_nested:
        return f"is a nested tensor, not one array: {remedy}"
    if tensor.layout != torch.strided:
        kind = str(tensor.layout).removeprefix("torch.")
        return f"is a {kind} tensor: {remedy}, with to_dense()"
    if tensor.is_meta:
        return "is a meta tensor, a shape without numbers: save the model with its weights"
    if tensor.is_quantized:
        return f"is a quantized tensor: {remedy}, with dequantize()"
    if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        return f"repeats fewer stored numbers than it has: {remedy}, with contiguous()"
    return None


def _refusal(path: Path, error: Exception) -> str:
    pickled = re.search(r"GLOBAL ([\w.]+)", str(error))
    if pickled is None:
        # torch's message begins with the advice to read the file unsafely.
        _, separator, rest = str(error).partition("WeightsUnpickler error:")
        lines = (rest if separator else str(error)).splitlines()
        reason = next((line.strip() for line in lines if line.strip()), type(error).__name__)
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
    table = read_file(path) if path.suffix in (".pt", ".pth") else _parsed(path)
    if not is_table(table):
        raise ValueError(f"{path} holds no table of options by name")
    return dict(table)


def is_table(value: Any) -> bool:
    """Whether a value is a table of something by name."""
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _parsed(path: Path) -> Any:
    if path.suffix == ".toml":
        return read_toml(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
        return json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table of JSON; one with the same name twice is refused."""
    names = [name for name, _ in pairs]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{repeated} stands there twice")
    return dict(pairs)
