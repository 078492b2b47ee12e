"""GPT-2 as Hugging Face's transformers names it, whose matrices stand on the right: [in, out].

One matrix holds the queries, keys and values of all heads: [d_model, 3 * head * d_head].
"""

from collections.abc import Mapping
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
    with_zero_norm_biases,
)
from interp.importers.layouts.transformers_config import (
    activation,
    check_others,
    head_size,
    stated_options,
)

PREFIX = "transformer."
IGNORED = rf"({PREFIX})?h\.\d+\.(attn|crossattention)\.(bias|masked_bias)"  # causal masks
COMPUTED = {"scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}
# Dropout, heads of other tasks, and how numbers are rounded in half precision.
HARMLESS = (
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
    "reorder_and_upcast_attn",
    "n_ctx",
    "summary_type",
    "summary_use_proj",
    "summary_activation",
    "summary_proj_to_labels",
    "summary_first_dropout",
)
OPTIONS = {
    "n_layer": "n_layers",
    "n_embd": "d_model",
    "n_head": "n_heads",
    "n_positions": "n_ctx",
    "vocab_size": "d_vocab",
    "layer_norm_epsilon": "eps",
    "tie_word_embeddings": "tie_word_embeddings",
}


def _options(config: Options) -> dict[str, Any]:
    if config.get("model_type") != "gpt2":
        return dict(config)
    read = ("activation_function", "n_inner", "scale_attn_weights")
    check_others(config, COMPUTED, known={*OPTIONS, *HARMLESS, *read})
    options = stated_options(config, OPTIONS)
    options["d_head"] = head_size(config["n_embd"], config["n_head"])
    options["d_mlp"] = config.get("n_inner") or 4 * config["n_embd"]
    if not config.get("scale_attn_weights", True):
        options["attn_scale"] = 1.0
    return options | {"act_fn": activation(config, "activation_function")}


def gpt2_table(n_heads: int, *, is_turned: bool, has_biases: bool) -> dict[str, Source]:
    """Where GPT-2's parameters are found, but for the unembedding.

    Args:
        n_heads: Heads a block.
        is_turned: Whether matrices are [out, in], as torch's Linear has them.
        has_biases: Whether matrices and layer norms have biases.
    """
    swap = "d_out d_in -> d_in d_out" if is_turned else ""
    joined = "(qkv head d_head) d_model" if is_turned else "d_model (qkv head d_head)"
    written = "d_model (head d_head)" if is_turned else "(head d_head) d_model"
    heads, block, theirs = {"head": n_heads}, "blocks.{layer}.", f"{PREFIX}h.{{layer}}."
    table = {
        "embed.W_E": Source(f"{PREFIX}wte.weight"),
        "pos_embed.W_pos": Source(f"{PREFIX}wpe.weight"),
        "ln_final.w": Source(f"{PREFIX}ln_f.weight"),
        f"{block}ln1.w": Source(f"{theirs}ln_1.weight"),
        f"{block}ln2.w": Source(f"{theirs}ln_2.weight"),
        f"{block}attn.W_O": Source(
            f"{theirs}attn.c_proj.weight", f"{written} -> head d_head d_model", sizes=heads
        ),
        f"{block}mlp.W_in": Source(f"{theirs}mlp.c_fc.weight", swap),
        f"{block}mlp.W_out": Source(f"{theirs}mlp.c_proj.weight", swap),
    }
    for index, letter in enumerate("QKV"):
        sizes, pattern = heads | {"qkv": 3}, f"{joined} -> qkv head d_model d_head"
        table[f"{block}attn.W_{letter}"] = Source(
            f"{theirs}attn.c_attn.weight", pattern, index, sizes
        )
        if has_biases:
            table[f"{block}attn.b_{letter}"] = Source(
                f"{theirs}attn.c_attn.bias", "(qkv head d_head) -> qkv head d_head", index, sizes
            )
    if has_biases:
        table |= {name: Source(source) for name, source in BIASES.items()}
    return table


BIASES: Mapping[str, str] = {
    "ln_final.b": f"{PREFIX}ln_f.bias",
    "blocks.{layer}.ln1.b": f"{PREFIX}h.{{layer}}.ln_1.bias",
    "blocks.{layer}.ln2.b": f"{PREFIX}h.{{layer}}.ln_2.bias",
    "blocks.{layer}.attn.b_O": f"{PREFIX}h.{{layer}}.attn.c_proj.bias",
    "blocks.{layer}.mlp.b_in": f"{PREFIX}h.{{layer}}.mlp.c_fc.bias",
    "blocks.{layer}.mlp.b_out": f"{PREFIX}h.{{layer}}.mlp.c_proj.bias",
}


def gpt2_parameters(
    state: State, table: Mapping[str, Source], *, is_tied: bool
) -> dict[str, Tensor]:
    """Parameters by GPT-2's table, with the unembedding, which may be the embedding.

    Raises:
        ValueError: A tensor is missing or unknown, or has other axes.
    """
    if not is_tied or "lm_head.weight" in state:
        table = {
            **table,
            "unembed.W_U": Source("lm_head.weight", "d_vocab d_model -> d_model d_vocab"),
        }
    parameters = with_unembedding(mapped(state, table, ignored=IGNORED))
    return with_zero_norm_biases(with_zero_biases(parameters))


def _parameters(state: State, stated: Options) -> dict[str, Tensor]:
    # A GPT2Model, saved without its head, has no prefix.
    is_bare = not any(name.startswith(PREFIX) for name in state)
    if is_bare:
        state = {
            name if name == "lm_head.weight" else PREFIX + name: value
            for name, value in state.items()
        }
    table = gpt2_table(stated["n_heads"], is_turned=False, has_biases=True)
    return gpt2_parameters(state, table, is_tied=bool(stated.get("tie_word_embeddings")))


GPT2 = Layout(
    name="gpt2",
    fits=lambda state, config: config.get("model_type") == "gpt2",
    parameters=_parameters,
    options=_options,
    fixed={
        "normalization_type": "LN",
        "positional_embedding_type": "standard",
        "attention_dir": "causal",
    },
    reads_fewer=True,
)
