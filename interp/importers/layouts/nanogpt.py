"""nanoGPT's `ckpt.pt`: GPT-2's names, with torch's Linear [out, in] for every matrix.

The file holds `model`, `model_args` (sizes, and whether there are biases) and `iter_num`, the step;
its `config` is of the training. Embedding and unembedding are one matrix.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from interp.importers.layouts.base import Layout, Options, State
from interp.importers.layouts.gpt2 import gpt2_parameters, gpt2_table

MODEL_ARGS = "model_args"  # under which the file keeps the model's options
FIRST = "transformer.h.0.attn.c_attn.weight"
FIRST_BIAS = "transformer.h.0.attn.c_attn.bias"
OPTIONS: Mapping[str, str] = {
    "n_layer": "n_layers",
    "n_head": "n_heads",
    "n_embd": "d_model",
    "block_size": "n_ctx",
    "vocab_size": "d_vocab",
    "bias": "biases",
}


def _options(config: Options) -> dict[str, Any]:
    options = {OPTIONS.get(name, name): value for name, value in config.items()}
    options.pop("dropout", None)  # of the training
    return options


def _fits(state: State, config: Options) -> bool:
    joined = state.get(FIRST)
    # GPT-2's own matrix has the axes the other way round.
    is_linear = joined is not None and joined.ndim == 2 and joined.shape[0] == 3 * joined.shape[1]
    return is_linear and "model_type" not in config


def _parameters(state: State, stated: Options) -> dict[str, Tensor]:
    has_biases = stated.get("biases", FIRST_BIAS in state)  # older files do not say
    table = gpt2_table(stated["n_heads"], is_turned=True, has_biases=bool(has_biases))
    return gpt2_parameters(state, table, is_tied=True)


NANOGPT = Layout(
    name="nanogpt",
    fits=_fits,
    parameters=_parameters,
    options=_options,
    fixed={
        "normalization_type": "LN",
        "positional_embedding_type": "standard",
        "attention_dir": "causal",
        "tie_word_embeddings": True,
        "eps": 1e-5,
    },
    assumed={"act_fn": "gelu"},
    asked=("n_heads",),
    reads_fewer=True,
)
