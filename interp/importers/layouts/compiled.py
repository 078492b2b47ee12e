"""Transformers whose weights are made by hand or by tracr, from an npz.

By hand: `W_E`, `W_pos`, `W_U`, and for each layer `0.W_Q`, ... in TransformerLens' shapes. What is
absent is zeros: biases, and the attention or the MLP of a layer that has none.

By tracr (Lindner et al. 2023, arXiv:2301.05062): the arrays of its `params`, by module and name.
Heads stand side by side in its matrices, [d_model, head * d_head]; scores are divided by
sqrt(d_head); there is no layer norm, and ReLU. What reads the answer off the residual stream is no
parameter there, so it is added to the file, as `W_U`.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from interp.importers.layouts.base import (
    Layout,
    Options,
    Source,
    State,
    check_names,
    mapped,
    n_blocks,
    with_zero_biases,
)

TOP = {"W_E": "embed.W_E", "W_pos": "pos_embed.W_pos", "W_U": "unembed.W_U", "b_U": "unembed.b_U"}
ATTENTION = ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O")
MLP = ("W_in", "W_out", "b_in", "b_out")
ROOM = {**dict.fromkeys(ATTENTION, "attn"), **dict.fromkeys(MLP, "mlp")}
PART = re.compile(rf"([0-9]+)\.({'|'.join(ROOM)})")
TRACR = re.compile(
    r"transformer/layer_([0-9]+)/(attn|mlp)/(query|key|value|linear|linear_[12])/[wb]"
)
SIDE_BY_SIDE = "d_model (head d_head) -> head d_model d_head"


def _is_by_hand(state: State) -> bool:
    return "W_E" in state and any(map(PART.fullmatch, state))


def _by_hand(state: State, stated: Options) -> dict[str, Tensor]:
    parts = {name: PART.fullmatch(name) for name in state}
    missing = [name for name in ("W_E", "W_pos", "W_U") if name not in state]
    check_names(missing, [name for name, part in parts.items() if not part and name not in TOP])
    parameters = {TOP[name]: value for name, value in state.items() if name in TOP}
    layers = {
        f"blocks.{part[1]}.{ROOM[part[2]]}.{part[2]}": state[name]
        for name, part in parts.items()
        if part
    }
    for layer in range(n_blocks(layers)):
        for room, names in (("attn", ATTENTION), ("mlp", MLP)):
            found = {
                name: layers[place]
                for name in names
                if (place := f"blocks.{layer}.{room}.{name}") in layers
            }
            weights = [name for name in names if name.startswith("W_")]
            lacking = [f"{layer}.{name}" for name in weights if found and name not in found]
            check_names(lacking, [])
            if not found:  # a layer without it: zeros, of the shapes of another layer's
                found = _zeros(layers, room, weights)
            parameters |= {f"blocks.{layer}.{room}.{name}": v for name, v in found.items()}
    return with_zero_biases(parameters)


def _zeros(layers: Mapping[str, Tensor], room: str, names: list[str]) -> dict[str, Tensor]:
    """Weights of zeros in the shapes of the first layer that has them; none where none has."""
    shapes = {
        name: torch.zeros_like(value)
        for name in names
        for place, value in layers.items()
        if place.endswith(f".{room}.{name}")
    }
    if room == "attn" and not shapes:
        raise ValueError("no layer has W_Q, W_K, W_V and W_O: give one of zeros, for its shapes")
    return shapes


BY_HAND = Layout(
    name="by_hand",
    fits=lambda state, config: _is_by_hand(state),
    parameters=_by_hand,
    fixed={"normalization_type": None, "positional_embedding_type": "standard"},
    asked=("attention_dir",),
    step=lambda config: 0,
)


def _plain(name: str) -> str:
    """A name with `/` between module and array, which files write as `:` or `.` too."""
    return re.sub(r"[:.](w|b|embeddings)$", r"/\1", name)


def _tracr(state: State, stated: Options) -> dict[str, Tensor]:
    state = {_plain(name): value for name, value in state.items()}
    heads, block, theirs = (
        {"head": stated["n_heads"]},
        "blocks.{layer}.",
        "transformer/layer_{layer}/",
    )
    table = {
        "embed.W_E": Source("token_embed/embeddings"),
        "pos_embed.W_pos": Source("pos_embed/embeddings"),
        "unembed.W_U": Source("W_U"),
        f"{block}attn.W_O": Source(
            f"{theirs}attn/linear/w", "(head d_head) d_model -> head d_head d_model", sizes=heads
        ),
        f"{block}attn.b_O": Source(f"{theirs}attn/linear/b"),
        f"{block}mlp.W_in": Source(f"{theirs}mlp/linear_1/w"),
        f"{block}mlp.b_in": Source(f"{theirs}mlp/linear_1/b"),
        f"{block}mlp.W_out": Source(f"{theirs}mlp/linear_2/w"),
        f"{block}mlp.b_out": Source(f"{theirs}mlp/linear_2/b"),
    }
    for letter, module in {"Q": "query", "K": "key", "V": "value"}.items():
        table[f"{block}attn.W_{letter}"] = Source(
            f"{theirs}attn/{module}/w", SIDE_BY_SIDE, sizes=heads
        )
        table[f"{block}attn.b_{letter}"] = Source(
            f"{theirs}attn/{module}/b", "(head d_head) -> head d_head", sizes=heads
        )
    if "W_U" not in state:
        raise ValueError(
            "lacks W_U [d_model, d_vocab_out], which is none of tracr's params: add the matrix "
            "that reads the answer off the residual stream to the npz"
        )
    return with_zero_biases(mapped(state, table))


def _tracr_options(config: Options) -> dict[str, Any]:
    """TransformerConfig's names, which tracr keeps as `model_config`, under ours."""
    options = dict(config)
    names = {"num_heads": "n_heads", "num_layers": "n_layers", "key_size": "d_head"}
    names |= {"mlp_hidden_size": "d_mlp"}
    options = {names.get(name, name): value for name, value in options.items()}
    if options.pop("layer_norm", False):
        raise ValueError("layer_norm is True in the config; tracr's models have none")
    if "causal" in options:
        options["attention_dir"] = "causal" if options.pop("causal") else "bidirectional"
    options.pop("dropout_rate", None)
    return options


COMPILED_BY_TRACR = Layout(
    name="tracr",
    fits=lambda state, config: any(TRACR.fullmatch(_plain(name)) for name in state),
    parameters=_tracr,
    options=_tracr_options,
    fixed={"normalization_type": None, "positional_embedding_type": "standard", "act_fn": "relu"},
    asked=("n_heads", "attention_dir"),
    step=lambda config: 0,
)
