"""GPT-NeoX, Pythia among them, as Hugging Face's transformers names it.

Rotary positions on a share of each head, attention and MLP side by side on the same stream. One
matrix holds each head's query, key and value rows, one head after the other. Matrices are
[out, in].
"""

from typing import Any

from torch import Tensor

from interp.importers.layouts.base import (
    Layout,
    Options,
    Source,
    State,
    mapped,
    with_unembedding,
    with_zero_biases,
)
from interp.importers.layouts.transformers_config import (
    activation,
    check_others,
    head_size,
    rotary,
    stated_options,
)

IGNORED = r"gpt_neox\.(layers\.\d+\.attention\.)?(bias|masked_bias|rotary_emb\.inv_freq)"
COMPUTED = {"attention_bias": True}
OPTIONS = {
    "num_hidden_layers": "n_layers",
    "hidden_size": "d_model",
    "num_attention_heads": "n_heads",
    "intermediate_size": "d_mlp",
    "max_position_embeddings": "n_ctx",
    "vocab_size": "d_vocab",
    "layer_norm_eps": "eps",
    "use_parallel_residual": "parallel_attn_mlp",
    "tie_word_embeddings": "tie_word_embeddings",
}
READ = {
    "hidden_act",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "rotary_pct",
    "rotary_emb_base",
}
BLOCK, THEIRS = "blocks.{layer}.", "gpt_neox.layers.{layer}."
SIDES = {"in": "h_to_4h", "out": "4h_to_h"}
NORMS = {"ln1": "input_layernorm", "ln2": "post_attention_layernorm"}


def _options(config: Options) -> dict[str, Any]:
    if config.get("model_type") != "gpt_neox":
        return dict(config)
    check_others(config, COMPUTED, known={*OPTIONS, *READ})
    angles = rotary(config)
    d_head = head_size(config["hidden_size"], config["num_attention_heads"])
    share = 1.0 if angles["share"] is None else angles["share"]
    width = int(share * d_head)
    if width < 2 or width % 2:
        raise ValueError(
            f"rotary_pct is {share!r} in config.json, which turns {width} of a head's {d_head} "
            "components; an even number is wanted"
        )
    return stated_options(config, OPTIONS) | {
        "d_head": d_head,
        "rotary_dim": width,
        "rotary_base": float(angles["theta"] or 10_000),
        "act_fn": activation(config, "hidden_act"),
    }


def _parameters(state: State, stated: Options) -> dict[str, Tensor]:
    heads = {"head": stated["n_heads"]}
    swap = "d_out d_in -> d_in d_out"
    table = {
        "embed.W_E": Source("gpt_neox.embed_in.weight"),
        "ln_final.w": Source("gpt_neox.final_layer_norm.weight"),
        "ln_final.b": Source("gpt_neox.final_layer_norm.bias"),
        f"{BLOCK}attn.W_O": Source(
            f"{THEIRS}attention.dense.weight",
            "d_model (head d_head) -> head d_head d_model",
            sizes=heads,
        ),
        f"{BLOCK}attn.b_O": Source(f"{THEIRS}attention.dense.bias"),
    }
    joined, sizes = f"{THEIRS}attention.query_key_value", heads | {"qkv": 3}
    for index, letter in enumerate("QKV"):
        weight = "(head qkv d_head) d_model -> qkv head d_model d_head"
        bias = "(head qkv d_head) -> qkv head d_head"
        table[f"{BLOCK}attn.W_{letter}"] = Source(f"{joined}.weight", weight, index, sizes)
        table[f"{BLOCK}attn.b_{letter}"] = Source(f"{joined}.bias", bias, index, sizes)
    for ours, theirs in SIDES.items():
        table[f"{BLOCK}mlp.W_{ours}"] = Source(f"{THEIRS}mlp.dense_{theirs}.weight", swap)
        table[f"{BLOCK}mlp.b_{ours}"] = Source(f"{THEIRS}mlp.dense_{theirs}.bias")
    for ours, theirs in NORMS.items():
        table[f"{BLOCK}{ours}.w"] = Source(f"{THEIRS}{theirs}.weight")
        table[f"{BLOCK}{ours}.b"] = Source(f"{THEIRS}{theirs}.bias")
    output = "lm_head" if "lm_head.weight" in state else "embed_out"  # by transformers' version
    if not stated.get("tie_word_embeddings") or f"{output}.weight" in state:
        table["unembed.W_U"] = Source(f"{output}.weight", swap)
    parameters = with_unembedding(mapped(state, table, ignored=IGNORED))
    return with_zero_biases(parameters)


NEOX = Layout(
    name="gpt_neox",
    fits=lambda state, config: config.get("model_type") == "gpt_neox",
    parameters=_parameters,
    options=_options,
    fixed={
        "normalization_type": "LN",
        "positional_embedding_type": "rotary",
        "attention_dir": "causal",
    },
    reads_fewer=True,
)
