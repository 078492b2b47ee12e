"""The ordinary HookedTransformer on tokens: its config, weight views, and those made elsewhere.

Options keep HookedTransformerConfig's own names. What the task decides (`d_vocab`, `d_vocab_out`,
`n_ctx`) is left out. Embeddings, heads and MLPs add to a residual stream of zeros; `W_U` reads it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from einops import einsum
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from hooks.models.base import HookedModel, Sizes, View
from hooks.models.transformer import TransformerConfig, by_head
from hooks.transformer import HookedTransformer, HookedTransformerConfig
from hooks.transformer.config import Activation, Normalization, PositionalEmbedding
from hooks.transformer.options import shape_of

# Options of HookedTransformerConfig that only other kinds of model set.
OTHER_KINDS: dict[str, Any] = {
    "norm_position": "pre",
    "scale_embeddings": False,
    "attention_biases": True,
    "neuron_dropout": 0.0,
    "d_in": None,
}


def neurons_read(
    config: "TokenConfig", parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series operand input d_mlp"]:
    """What each neuron of the first block receives from each token through each head.

    The weights W_E W_V W_O W_in, one operand a head: a neuron at the last position meets another
    position's token only through a head's OV circuit. Biases and layer norm are left out, and so
    is the direct path W_E W_in of the last position's own token (which is "=" where there is one).
    """
    if config.gated_mlp:
        raise KeyError("neurons that read by one matrix")
    if config.parallel_attn_mlp:
        raise KeyError("neurons that read what attention writes")
    embedding = parameters["embed.W_E"]
    values = by_head(parameters, "blocks.0.attn.W_V", config.n_heads)
    output, reads = parameters["blocks.0.attn.W_O"], parameters["blocks.0.mlp.W_in"]
    moved = einsum(embedding, values, "... token d, ... head d h -> ... head token h")
    written = einsum(moved, output, "... head token h, ... head h d -> ... head token d")
    return einsum(written, reads, "... head token d, ... d neuron -> ... head token neuron")


def neurons_write(
    config: "TokenConfig", parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series d_mlp class"]:
    """W_L = W_out W_U of the last block: what each neuron adds to each class' logit."""
    writes = parameters[f"blocks.{config.n_layers - 1}.mlp.W_out"]
    return writes @ config.VIEWS["W_U"](config, parameters)


class TokenConfig(TransformerConfig):
    """A HookedTransformer on tokens.

    Attributes:
        n_layers: Blocks.
        d_model: Width of the residual stream.
        n_heads: Heads a block.
        d_head: Width of a head; left out, d_model / n_heads.
        d_mlp: Neurons a block; left out, 4 d_model.
        attn_only: Whether there are no MLPs.
        act_fn: The neurons' nonlinearity.
        normalization_type: LN, LNPre, RMS, RMSPre or none.
        positional_embedding_type: standard, shortformer, rotary, sinusoidal or none.
        attention_dir: causal or bidirectional.
        initializer_range: Standard deviation of the first weights; negative for TransformerLens'
            default, 0.8 / sqrt(d_model).
        eps: Added to variances in norms.
        rotary_dim: Components of queries and keys that turn; left out, all.
        rotary_base: The largest wavelength over 2 pi.
        rotary_adjacent_pairs: Whether neighbouring components turn together.
        parallel_attn_mlp: Whether the MLP reads the stream before attention has written.
        gated_mlp: Whether neurons have a second factor.
        n_key_value_heads: Heads of keys and values, where several heads share them.
        tie_word_embeddings: Whether W_U is W_E transposed.
        attn_scale: What scores are divided by; left out, sqrt(d_head).
        dropout: Probability while training, at GPT-2's places: after the embedding, on attention
            weights, on what attention and MLP write.
        pattern_coeff: c of pattern = c softmax(scores) + 1 - c.
    """

    VIEWS: ClassVar[Mapping[str, View]] = {
        "W_E": TransformerConfig.VIEWS["W_E"],
        "W_pos": lambda config, parameters: parameters["pos_embed.W_pos"],
        "W_U": TransformerConfig.VIEWS["W_U"],
        "neuron_in": neurons_read,
        "neuron_out": neurons_write,
    }

    kind: Literal["token"] = "token"
    n_layers: int = Field(default=1, ge=1)
    d_model: int = Field(default=128, ge=1)
    n_heads: int = Field(default=4, ge=1)
    d_head: int | None = Field(default=None, ge=1)
    d_mlp: int | None = Field(default=None, ge=1)
    attn_only: bool = False
    act_fn: Activation = "relu"
    normalization_type: Normalization | None = None
    positional_embedding_type: PositionalEmbedding = "standard"
    attention_dir: Literal["causal", "bidirectional"] = "causal"
    initializer_range: float = Field(default=-1.0, allow_inf_nan=False)
    eps: float = Field(default=1e-5, ge=0, allow_inf_nan=False)
    rotary_dim: int | None = Field(default=None, ge=2, multiple_of=2)
    rotary_base: float = Field(default=10_000.0, gt=0, allow_inf_nan=False)
    rotary_adjacent_pairs: bool = False
    parallel_attn_mlp: bool = False
    gated_mlp: bool = False
    n_key_value_heads: int | None = Field(default=None, ge=1)
    tie_word_embeddings: bool = False
    attn_scale: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    pattern_coeff: float = Field(default=1.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _can_be_built(self) -> "TokenConfig":
        inputs = {"d_vocab": 1} if self.READS == "tokens" else {"d_in": 1}
        self.shape(Sizes(**inputs, d_vocab_out=1, n_ctx=1))
        return self


def token_config_of(model: HookedModel) -> TokenConfig:
    """The config of a live HookedTransformer, for models that came without one.

    Raises:
        ValueError: Its config asks for what is not computed here, holds an option that is unknown
            here, belongs to another kind of model, or its parameters have other names than a
            HookedTransformer's.
    """
    # Tied matrices are one parameter here; elsewhere an option of the name ties nothing.
    is_tied = "unembed.W_U" not in {name for name, _ in model.named_parameters()}
    config = token_config(shape_of(model.cfg), is_tied=is_tied)
    _check_parameters(model, config)
    return config


def token_config(shape: HookedTransformerConfig, *, is_tied: bool) -> TokenConfig:
    """A shape as a config of kind token.

    Raises:
        ValueError: It sets an option that only other kinds of model have.
    """
    for name, value in OTHER_KINDS.items():
        if getattr(shape, name) != value:
            raise ValueError(
                f"{name} is {getattr(shape, name)!r} in the model's cfg, which no kind of model "
                "says that was not built by it: take hooks.build with the config of its kind"
            )
    names = set(TokenConfig.model_fields) - {"kind"}
    options: dict[str, Any] = shape.model_dump(include=names, exclude_none=True)
    options["tie_word_embeddings"] = is_tied
    if shape.rotary_dim == shape.d_head:
        del options["rotary_dim"]
    if shape.normalization_type is None:
        options["normalization_type"] = None
    return TokenConfig(**options)


def _check_parameters(model: HookedModel, config: TokenConfig) -> None:
    """Refuses parameters of other names than a HookedTransformer's of this config."""
    sizes = Sizes(d_vocab=1, d_vocab_out=1, n_ctx=1)
    with torch.device("meta"):
        rebuilt = HookedTransformer(config.shape(sizes, init_weights=False, device="meta"))
    wanted = {name for name, _ in rebuilt.named_parameters()}
    names = {name for name, _ in model.named_parameters()}
    strange = sorted(names ^ wanted)
    if strange:
        there = "is there and not wanted" if strange[0] in names else "is missing"
        raise ValueError(
            f"parameter {strange[0]} {there}: names are not those of a HookedTransformer with this "
            "cfg, so that no weight could be found by name"
        )
