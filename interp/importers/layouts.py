"""The layouts of other people's parameters, converted to HookedTransformer's names and shapes.

- `hooked_transformer`: that of TransformerLens; W_O is [head, d_head, d_model].
- `progress_measures`: the code of Nanda et al. 2023 (arXiv:2301.05217), which applies most
  matrices from the left: embed.W_E [d_model, d_vocab], attn.W_Q, W_K, W_V [head, d_head, d_model],
  attn.W_O [d_model, head * d_head], mlp.W_in [d_mlp, d_model], mlp.W_out [d_model, d_mlp], while
  pos_embed.W_pos and unembed.W_U are as in TransformerLens. No bias but the MLP's, no layer norm.

Both divide scores by sqrt(d_head) and let a position attend to itself and the positions before it.
The progress-measures code subtracts 1e10 from the scores of later positions, so that their weights
are exactly 0 as well.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from einops import rearrange
from torch import Tensor

State = Mapping[str, Tensor]

# The parameters of a block of the progress-measures code, and how each but W_O is rearranged.
BLOCK_PATTERNS = {
    "attn.W_Q": "head d_head d_model -> head d_model d_head",
    "attn.W_K": "head d_head d_model -> head d_model d_head",
    "attn.W_V": "head d_head d_model -> head d_model d_head",
    "mlp.W_in": "d_mlp d_model -> d_model d_mlp",
    "mlp.b_in": "d_mlp -> d_mlp",
    "mlp.W_out": "d_model d_mlp -> d_mlp d_model",
    "mlp.b_out": "d_model -> d_model",
}
# What HookedTransformer keeps in its state_dict besides parameters.
BUFFERS = re.compile(r"blocks\.\d+\.attn\.(mask|IGNORE|rotary_sin|rotary_cos)")
BLOCK = re.compile(r"blocks\.([0-9]+)\.")
WRAPPERS = ("_orig_mod.", "module.")  # prefixes of torch.compile and DataParallel
MAX_LISTED_NAMES = 6  # names in a message
MAX_NAME_LETTERS = 60  # letters of each of them


def layout_of(state: State) -> str:
    """The layout of a state_dict, which the shape of the first block's W_O determines.

    Raises:
        ValueError: The layout is unknown.
    """
    output = state.get("blocks.0.attn.W_O")
    if output is None or output.ndim not in (2, 3):
        raise ValueError(
            "neither a HookedTransformer nor a model of the progress-measures code: "
            f"no blocks.0.attn.W_O of two or three axes; its tensors are {listed(state)}"
        )
    return {2: "progress_measures", 3: "hooked_transformer"}[output.ndim]


def hooked_transformer(state: State) -> dict[str, Tensor]:
    """Parameters in the layout of TransformerLens, without buffers."""
    return {name: value for name, value in state.items() if not BUFFERS.fullmatch(name)}


def progress_measures(state: State) -> dict[str, Tensor]:
    """Parameters converted from the progress-measures layout; biases that it lacks are zeros.

    Raises:
        ValueError: A tensor is missing or unknown, or W_O does not fit the heads.
    """
    blocks = range(n_blocks(state))
    known = [
        *("embed.W_E", "pos_embed.W_pos", "unembed.W_U"),
        *(f"blocks.{block}.{name}" for block in blocks for name in ("attn.W_O", *BLOCK_PATTERNS)),
    ]
    extra = [name for name in state if name not in known and not BUFFERS.fullmatch(name)]
    check_names([name for name in known if name not in state], extra)
    unembed = state["unembed.W_U"]
    turned = {
        "embed.W_E": turn(state["embed.W_E"], "d_model d_vocab -> d_vocab d_model", "embed.W_E"),
        "pos_embed.W_pos": state["pos_embed.W_pos"],
        "unembed.W_U": unembed,
        "unembed.b_U": unembed.new_zeros(unembed.shape[-1]),
    }
    for block in blocks:
        turned |= _block(state, f"blocks.{block}.")
    return turned


LAYOUTS: dict[str, Callable[[State], dict[str, Tensor]]] = {
    "hooked_transformer": hooked_transformer,
    "progress_measures": progress_measures,
}


def _block(state: State, block: str) -> dict[str, Tensor]:
    turned = {
        block + name: turn(state[block + name], pattern, block + name)
        for name, pattern in BLOCK_PATTERNS.items()
    }
    heads, d_model, d_head = turned[block + "attn.W_Q"].shape
    name = f"{block}attn.W_O"
    output = state[name]
    if output.ndim != 2 or output.shape[1] != heads * d_head:
        raise ValueError(
            f"{name} is {list(output.shape)}; {heads} heads of {d_head} want "
            f"{[d_model, heads * d_head]}"
        )
    zeros = {f"{block}attn.b_{letter}": output.new_zeros(heads, d_head) for letter in "QKV"}
    return (
        turned
        | {name: rearrange(output, "d_model (head d_head) -> head d_head d_model", head=heads)}
        | zeros
        | {f"{block}attn.b_O": output.new_zeros(d_model)}
    )


def turn(tensor: Tensor, pattern: str, name: str) -> Tensor:
    """A tensor rearranged by an einops pattern; an error names it.

    Raises:
        ValueError: It does not have as many axes as the pattern.
    """
    axes = pattern.split(" -> ")[0]
    if tensor.ndim != len(axes.split()):
        raise ValueError(f"{name} is {list(tensor.shape)}, not [{axes.replace(' ', ', ')}]")
    return rearrange(tensor, pattern)


def unwrapped(state: State) -> State:
    """A state_dict without the prefixes of torch.compile and DataParallel.

    Raises:
        ValueError: Only some of its names have such a prefix.
    """
    for prefix in WRAPPERS:
        has_prefix = [name.startswith(prefix) for name in state]
        if all(has_prefix):
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
    numbers = {match[1] for name in state if (match := BLOCK.match(name))}
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
