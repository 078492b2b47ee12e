"""What a layout is: how one code names and shapes its parameters, and how they become ours.

Most layouts are a table: for each parameter under HookedTransformer's name, the tensor that holds
it and how its axes are rearranged (`Tensors`). `{layer}` in a name stands for a block's number.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import EinopsError, rearrange
from torch import Tensor

State = Mapping[str, Tensor]
Options = Mapping[str, Any]

# What HookedTransformer keeps in its state_dict besides parameters.
BUFFERS = re.compile(r"blocks\.\d+\.attn\.(mask|IGNORE|rotary_sin|rotary_cos)")
BLOCK = re.compile(r"blocks\.([0-9]+)\.")
LAYER = "{layer}"
WRAPPERS = ("_orig_mod.", "module.")  # prefixes of torch.compile and DataParallel
MAX_LISTED_NAMES = 6  # names in a message
MAX_NAME_LETTERS = 60  # letters of each of them


def as_they_are(options: Options) -> dict[str, Any]:
    """Options that are under HookedTransformerConfig's names already."""
    return dict(options)


@dataclass(frozen=True, eq=False)
class Layout:
    """How one code names and shapes its parameters, and what is known of its models.

    Attributes:
        name: What it is called in imported.json.
        fits: Whether a state_dict, with the config that came with it or was given, is of it.
        parameters: A state_dict's parameters under HookedTransformer's names, given the stated
            options; a ValueError names tensors that are missing or unknown.
        options: A config of that code under HookedTransformerConfig's names; a ValueError names
            options that are not computed here.
        fixed: Options that all its models have, as its code computes nothing else.
        assumed: Options that are taken to hold where nothing says otherwise, with a warning; those
            of norms and of rotary positions are said only of models that have such.
        asked: Options that must be stated, since nothing tells them; those of norms and of rotary
            positions only of models that have such.
        step: The step of a file that says none itself, from its config; None where it is asked for.
        reads_fewer: Whether a task may use fewer tokens and positions than the model has.
    """

    name: str
    fits: Callable[[State, Options], bool]
    parameters: Callable[[State, Options], dict[str, Tensor]]
    options: Callable[[Options], dict[str, Any]] = as_they_are
    fixed: Options = field(default_factory=dict)
    assumed: Options = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    step: Callable[[Options], int | None] = lambda config: None
    reads_fewer: bool = False


@dataclass(frozen=True)
class Source:
    """Where a parameter is found.

    Attributes:
        name: The tensor's name in the file, in which `{layer}` is the block's number.
        pattern: How its axes are rearranged, an einops pattern; empty if they are as ours.
        index: Which entry of the first axis, after the rearrangement, is the parameter; None for
            the whole tensor.
        sizes: Sizes of axes that the pattern splits.
    """

    name: str
    pattern: str = ""
    index: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    def read(self, tensor: Tensor, name: str) -> Tensor:
        """The parameter in a tensor of a given name.

        Raises:
            ValueError: The tensor has other axes than the pattern, or lacks the entry.
        """
        turned = self.split(tensor, name)
        if self.index is None:
            return turned
        if not turned.ndim or not 0 <= self.index < len(turned):
            raise ValueError(f"{name} is {list(turned.shape)} and has no entry {self.index}")
        return turned[self.index]

    def split(self, tensor: Tensor, name: str) -> Tensor:
        """The whole tensor of a given name, rearranged.

        Raises:
            ValueError: The tensor has other axes than the pattern.
        """
        return turn(tensor, self.pattern, name, **self.sizes) if self.pattern else tensor


Tensors = Mapping[str, Source]


def mapped(state: State, table: Tensors, *, ignored: str = r"(?!)") -> dict[str, Tensor]:
    """Parameters by a table.

    Args:
        state: The tensors of a file.
        table: For each parameter, where it is found.
        ignored: A regular expression of names that are no parameters.

    Raises:
        ValueError: A tensor is missing or is in no row of the table, or has other axes, or a part
            of one that is split by index is in no row or in several.
    """
    layers = range(_n_layers(state, table))
    sources = {
        ours.replace(LAYER, str(layer)): (source.name.replace(LAYER, str(layer)), source)
        for ours, source in table.items()
        for layer in (layers if LAYER in ours else (0,))
    }
    used = dict.fromkeys(name for name, _ in sources.values())
    extra = [name for name in state if name not in used and not re.fullmatch(ignored, name)]
    check_names([name for name in used if name not in state], extra)
    found = {ours: source.read(state[name], name) for ours, (name, source) in sources.items()}
    for name in used:
        _check_parts(state[name], name, [of for other, of in sources.values() if other == name])
    return found


def _check_parts(tensor: Tensor, name: str, rows: Sequence[Source]) -> None:
    """Refuses rows that split a tensor by index and do not use every part once.

    Raises:
        ValueError: A part is in no row or in several, or the rows do not split the tensor alike.
    """
    indices = [row.index for row in rows]
    if set(indices) == {None}:
        return
    if None in indices:
        raise ValueError(f"{name}: one row takes the whole of it and another an index of it")
    if len({_split(row) for row in rows}) > 1:
        raise ValueError(f"{name}: its rows split it in several ways; give all the same split")
    n_parts = len(rows[0].split(tensor, name))
    for part in range(n_parts):
        if indices.count(part) != 1:
            count = f"{indices.count(part)} rows" if part in indices else "no row"
            raise ValueError(
                f"{name} has {n_parts} parts by its first axis, and index {part} is in {count}: "
                "give every part one row"
            )


def _split(row: Source) -> tuple[str, str, frozenset[tuple[str, int]]]:
    """Which axis of a tensor a row takes an entry of: that axis, all axes and given sizes."""
    axes, _, turned = row.pattern.partition("->")
    return " ".join(axes.split()), turned.split()[0] if turned else "", frozenset(row.sizes.items())


def _n_layers(state: State, table: Tensors) -> int:
    """How many blocks a file has, by the names of the table."""
    patterns = [
        re.compile(re.escape(source.name).replace(re.escape(LAYER), "([0-9]+)"))
        for source in table.values()
        if LAYER in source.name
    ]
    numbers = {
        match[1] for name in state for pattern in patterns if (match := pattern.fullmatch(name))
    }
    return _counted(numbers)


def with_unembedding(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters, with the embedding transposed as the unembedding where there is no other."""
    tied = parameters["embed.W_E"].T
    return {**parameters, "unembed.W_U": parameters.get("unembed.W_U", tied)}


def with_zero_biases(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters, with zeros for each bias that a weight here has and that is not there.

    A weight of RMS norm has none: give layer norm its bias before.
    """
    biases = {
        name.replace("W_", "b_"): shape(value)
        for name, value in parameters.items()
        for weight, shape in BIAS_SHAPES.items()
        if name.split(".")[-1] == weight
    }
    some = next(iter(parameters.values()))
    return {
        **parameters,
        **{name: some.new_zeros(shape) for name, shape in biases.items() if name not in parameters},
    }


# The shape of the bias that belongs to a weight.
BIAS_SHAPES: dict[str, Callable[[Tensor], tuple[int, ...]]] = {
    **dict.fromkeys(("W_Q", "W_K", "W_V", "_W_K", "_W_V"), lambda W: (len(W), W.shape[-1])),
    **dict.fromkeys(("W_O", "W_in", "W_out", "W_U"), lambda W: (W.shape[-1],)),
}


def with_zero_norm_biases(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters, with zeros for the bias of each layer norm that has none."""
    biases = {
        name.removesuffix("w") + "b": torch.zeros_like(value)
        for name, value in parameters.items()
        if name.endswith(("ln1.w", "ln2.w", "ln_final.w"))
    }
    return biases | dict(parameters)


def turn(tensor: Tensor, pattern: str, name: str, **sizes: int) -> Tensor:
    """A tensor rearranged by an einops pattern; an error names it.

    Raises:
        ValueError: It does not have as many axes as the pattern, or they cannot be split so.
    """
    axes = re.findall(r"\([^)]*\)|\S+", pattern.split("->")[0])
    if tensor.ndim != len(axes):
        raise ValueError(f"{name} is {list(tensor.shape)}, not [{', '.join(axes)}]")
    try:
        return rearrange(tensor, pattern, **sizes)
    except EinopsError:
        given = ", ".join(f"{axis} = {size}" for axis, size in sizes.items())
        raise ValueError(
            f"{name} is {list(tensor.shape)}, which '{pattern}' does not fit"
            f"{f' with {given}' if given else ''}"
        ) from None


def unwrapped(state: State) -> State:
    """A state_dict without the prefixes of torch.compile and DataParallel.

    Raises:
        ValueError: Only some of its names have such a prefix.
    """
    for prefix in WRAPPERS:
        has_prefix = [name.startswith(prefix) for name in state]
        if state and all(has_prefix):
            return unwrapped({name.removeprefix(prefix): state[name] for name in state})
        if any(has_prefix):
            raise ValueError(
                f"{sum(has_prefix)} of {len(has_prefix)} names begin with {prefix}: save the "
                "state_dict of one model, unwrapped"
            )
    return state


def n_blocks(state: State) -> int:
    """How many blocks the parameters belong to.

    Raises:
        ValueError: The blocks are not numbered from 0 on without a gap.
    """
    return _counted({match[1] for name in state if (match := BLOCK.match(name))})


def _counted(numbers: set[str]) -> int:
    if numbers != {str(block) for block in range(len(numbers))}:
        ascending = sorted(numbers, key=lambda number: (len(number), number))
        raise ValueError(
            f"its blocks are numbered {listed(ascending)}; 0 to {len(numbers) - 1} are wanted"
        )
    return len(numbers)


def check_masks(state: State) -> None:
    """Refuses attention masks that are not causal; TransformerLens 3.9 keeps empty ones.

    Raises:
        ValueError: A mask lets a position see later ones, or hides earlier ones.
    """
    for name, mask in state.items():
        if name.endswith("attn.mask") and mask.numel():
            is_causal = mask.ndim == 2 and torch.equal(
                mask != 0, torch.ones(mask.shape).tril() != 0
            )
            if not is_causal or mask.shape[0] != mask.shape[1]:
                raise ValueError(f"{name} is not the causal mask; other attention is unknown here")


def check_names(missing: list[str], extra: list[str]) -> None:
    """Refuses missing and unknown tensors; the message names them.

    Raises:
        ValueError: There are any.
    """
    faults = {"lacks": missing, "has unknown tensors": extra}
    if missing or extra:
        raise ValueError(
            " and ".join(f"{fault} {listed(names)}" for fault, names in faults.items() if names)
        )


def listed(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    short = [
        name if len(name) <= MAX_NAME_LETTERS else f"{name[: MAX_NAME_LETTERS - 3]}..."
        for name in names
    ]
    shown = [name if name.isprintable() and name else repr(name) for name in short]
    n_more = len(shown) - MAX_LISTED_NAMES
    more = f" and {n_more} more" if n_more > 0 else ""
    return (", ".join(shown[:MAX_LISTED_NAMES]) or "none") + more
