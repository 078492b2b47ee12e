"""The code of Nanda et al. 2023 (arXiv:2301.05217), which applies most matrices from the left.

embed.W_E is [d_model, d_vocab], attn.W_Q, W_K and W_V [head, d_head, d_model], attn.W_O [d_model,
head * d_head], mlp.W_in [d_mlp, d_model], mlp.W_out [d_model, d_mlp], while pos_embed.W_pos and
unembed.W_U are as in TransformerLens. There is no bias but the MLP's, and no layer norm.

Scores are divided by sqrt(d_head), and a position attends to itself and the positions before it.
That code subtracts 1e10 from the scores of later positions, so that their weights are exactly 0.
"""

from torch import Tensor

from interp.importers.layouts.base import (
    BUFFERS,
    Layout,
    Options,
    Source,
    State,
    mapped,
    with_zero_biases,
)

FIRST_OUTPUT = "blocks.0.attn.W_O"
PATTERNS = {
    "embed.W_E": "d_model d_vocab -> d_vocab d_model",
    "pos_embed.W_pos": "",
    "unembed.W_U": "",
    "blocks.{layer}.attn.W_O": "d_model (head d_head) -> head d_head d_model",
    **{
        f"blocks.{{layer}}.attn.W_{letter}": "head d_head d_model -> head d_model d_head"
        for letter in "QKV"
    },
    "blocks.{layer}.mlp.W_in": "d_mlp d_model -> d_model d_mlp",
    "blocks.{layer}.mlp.b_in": "d_mlp -> d_mlp",
    "blocks.{layer}.mlp.W_out": "d_model d_mlp -> d_mlp d_model",
    "blocks.{layer}.mlp.b_out": "d_model -> d_model",
}


def is_from_the_left(state: State) -> bool:
    """Whether a state_dict has this layout, which the first block's W_O tells."""
    output = state.get(FIRST_OUTPUT)
    return output is not None and output.ndim == 2


def parameters_from_the_left(state: State, stated: Options) -> dict[str, Tensor]:
    """Parameters converted from this layout; biases that it lacks are zeros.

    Raises:
        ValueError: A tensor is missing or unknown, or W_O does not fit the heads.
    """
    queries, output = state.get("blocks.0.attn.W_Q"), state[FIRST_OUTPUT]
    heads = len(queries) if queries is not None and queries.ndim == 3 else 1
    if queries is not None and queries.ndim == 3 and output.shape[1] != heads * queries.shape[1]:
        raise ValueError(
            f"{FIRST_OUTPUT} is {list(output.shape)}; {heads} heads of {queries.shape[1]} want "
            f"{[queries.shape[2], heads * queries.shape[1]]}"
        )
    table = {
        name: Source(name, pattern, sizes={"head": heads} if "(head" in pattern else {})
        for name, pattern in PATTERNS.items()
    }
    return with_zero_biases(mapped(state, table, ignored=BUFFERS.pattern))


def _parameters(state: State, stated: Options) -> dict[str, Tensor]:
    for name in ("normalization_type", "use_ln"):
        if stated.get(name):
            raise ValueError(
                f"{name} is {stated[name]!r} in the config; the progress-measures layout has no "
                "layer norm"
            )
    return parameters_from_the_left(state, stated)


PROGRESS_MEASURES = Layout(
    name="progress_measures",
    fits=lambda state, config: is_from_the_left(state),
    parameters=_parameters,
    assumed={"attention_dir": "causal", "act_fn": "relu", "normalization_type": None},
)
