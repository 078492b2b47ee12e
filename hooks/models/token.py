"""The ordinary HookedTransformer on tokens: its config, its builder and its weight views.

Options keep HookedTransformerConfig's own names (transformer-lens 3.9). What the task decides
(`d_vocab`, `d_vocab_out`, `n_ctx`) is left out. TransformerLens counts from a zero residual
stream; embeddings, heads and MLPs add to it, `W_U` reads it.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal

import torch
from einops import einsum
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from hooks.models.base import HookedModel, Sizes
from hooks.models.computed import KNOWN, check_computed


class TokenConfig(BaseModel):
    """A HookedTransformer on tokens.

    Left out, `d_head` is d_model / n_heads and `d_mlp` is 4 d_model. A negative
    `initializer_range` stands for TransformerLens' default, 0.8 / sqrt(d_model).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["token"] = "token"
    n_layers: int = Field(default=1, ge=1)
    d_model: int = Field(default=128, ge=1)
    n_heads: int = Field(default=4, ge=1)
    d_head: int | None = Field(default=None, ge=1)
    d_mlp: int | None = Field(default=None, ge=1)
    attn_only: bool = False
    act_fn: Literal["relu", "gelu", "gelu_new", "silu", "gelu_fast"] = "relu"
    normalization_type: Literal["LN", "LNPre"] | None = None
    positional_embedding_type: Literal["standard", "rotary"] = "standard"
    attention_dir: Literal["causal", "bidirectional"] = "causal"
    initializer_range: float = -1.0

    @model_validator(mode="after")
    def _heads_fit(self) -> "TokenConfig":
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}: "
                "change one, or give d_head"
            )
        return self

    @property
    def head_size(self) -> int:
        """`d_head`, or d_model / n_heads where it was left out."""
        return self.d_head or self.d_model // self.n_heads

    @property
    def mlp_size(self) -> int:
        """`d_mlp`, or 4 d_model where it was left out."""
        return self.d_mlp or 4 * self.d_model


def build_token(config: TokenConfig, sizes: Sizes, dtype: torch.dtype) -> HookedModel:
    """A HookedTransformer with freshly drawn weights, from torch's global generator, on the CPU.

    Raises:
        ValueError: The task has real inputs instead of tokens.
    """
    if sizes.d_vocab is None:
        raise ValueError(
            "model: kind token reads tokens, this task has real inputs: take kind mlp or read_in"
        )
    from transformer_lens import HookedTransformer

    return instantiated(HookedTransformer, config, sizes.model_dump(exclude={"d_in"}), dtype)


def instantiated(
    cls: Callable[[Any], Any], config: TokenConfig, sizes: Mapping[str, Any], dtype: torch.dtype
) -> Any:
    """A model of HookedTransformer's class, or of one that inherits from it, on the CPU.

    Args:
        cls: From a HookedTransformerConfig to a model.
        config: Its shape.
        sizes: `d_vocab`, `d_vocab_out` and `n_ctx`.
        dtype: Type of the parameters.
    """
    from transformer_lens import HookedTransformerConfig

    cfg = HookedTransformerConfig(
        **config.model_dump(exclude={"kind", "d_head", "d_mlp"}),
        **sizes,
        d_head=config.head_size,
        d_mlp=None if config.attn_only else config.mlp_size,
        dtype=dtype,
        device="cpu",
        seed=None,  # a seed here would reseed torch, NumPy and Python for the whole process
    )
    with warnings.catch_warnings():
        # HookedTransformer is what this toolkit trains; it is pinned below its removal in 4.0.
        warnings.simplefilter("ignore", DeprecationWarning)
        model = cls(cfg)
    for block in model.blocks:
        # A NumPy scalar here breaks torch.compile and vmap together.
        block.attn.attn_scale = float(block.attn.attn_scale)
    return model


def token_config_of(model: HookedModel) -> TokenConfig:
    """The config of a live HookedTransformer, for models that came without one.

    Raises:
        ValueError: Its config asks for what the token model does not compute, holds an option
            that is unknown here, or its parameters have other names than HookedTransformer's.
    """
    cfg = model.cfg
    names = set(TokenConfig.model_fields) - {"kind"}
    lacking = sorted(name for name in names if not hasattr(cfg, name))
    if lacking:
        raise ValueError(
            f"the model's cfg has no {lacking[0]}, which a HookedTransformer's has: take one, or "
            "a model of this toolkit"
        )
    check_computed(_stated(cfg), n_heads=cfg.n_heads, d_head=cfg.d_head)
    # What does not apply is None there (act_fn without an MLP) and left out here.
    values = {name: getattr(cfg, name) for name in names if getattr(cfg, name) is not None}
    try:
        config = TokenConfig(**values)
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc']))} is {fault['input']!r}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ValueError(f"the model's cfg: {'; '.join(faults)}") from None
    _check_parameters(model, config)
    return config


def _stated(cfg: Any) -> dict[str, Any]:
    """The options of a live config, without unknown ones that are at their default."""
    defaults = {each.name: each.default for each in fields(cfg)} if is_dataclass(cfg) else {}
    return {
        name: value
        for name, value in vars(cfg).items()
        if name in KNOWN or name not in defaults or defaults[name] != value
    }


def _check_parameters(model: HookedModel, config: TokenConfig) -> None:
    """Refuses parameters of other names than a HookedTransformer's of this config."""
    names = {name for name, _ in model.named_parameters()}
    strange = sorted(names ^ parameter_names(config))
    if strange:
        there = "is there and not wanted" if strange[0] in names else "is missing"
        raise ValueError(
            f"parameter {strange[0]} {there}: names are not those of a HookedTransformer with this "
            "cfg, so that no weight could be found by name. A TransformerBridge names them "
            "otherwise: take a HookedTransformer with the same weights"
        )


def parameter_names(config: TokenConfig) -> set[str]:
    """The names of a token model's parameters."""
    norms = [f"{part}.{name}" for part in ("ln1", "ln2") for name in ("w", "b")]
    block = [f"attn.{kind}_{part}" for kind in "Wb" for part in "QKVO"]
    ends = {"embed.W_E", "unembed.W_U", "unembed.b_U"}
    if config.positional_embedding_type == "standard":
        ends.add("pos_embed.W_pos")
    if not config.attn_only:
        block += ["mlp.W_in", "mlp.b_in", "mlp.W_out", "mlp.b_out"]
    if config.normalization_type == "LN":
        block += norms[:2] if config.attn_only else norms
        ends |= {"ln_final.w", "ln_final.b"}
    return ends | {f"blocks.{layer}.{name}" for layer in range(config.n_layers) for name in block}


def neurons_read(
    config: TokenConfig, parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series operand input d_mlp"]:
    """What each neuron of the first block receives from each token through each head.

    The weights W_E W_V W_O W_in, one operand a head: a neuron at the last position meets another
    position's token only through a head's OV circuit. Biases and layer norm are left out, and so
    is the direct path W_E W_in of the last position's own token (which is "=" where there is one).
    """
    embedding, values = parameters["embed.W_E"], parameters["blocks.0.attn.W_V"]
    output, reads = parameters["blocks.0.attn.W_O"], parameters["blocks.0.mlp.W_in"]
    moved = einsum(embedding, values, "... token d, ... head d h -> ... head token h")
    written = einsum(moved, output, "... head token h, ... head h d -> ... head token d")
    return einsum(written, reads, "... head token d, ... d neuron -> ... head token neuron")


def neurons_write(
    config: TokenConfig, parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series d_mlp class"]:
    """W_L = W_out W_U of the last block: what each neuron adds to each class' logit."""
    writes = parameters[f"blocks.{config.n_layers - 1}.mlp.W_out"]
    return writes @ parameters["unembed.W_U"]


VIEWS: dict[str, Callable[[TokenConfig, Mapping[str, Tensor]], Tensor]] = {
    "W_E": lambda config, parameters: parameters["embed.W_E"],
    "W_pos": lambda config, parameters: parameters["pos_embed.W_pos"],
    "W_U": lambda config, parameters: parameters["unembed.W_U"],
    "neuron_in": neurons_read,
    "neuron_out": neurons_write,
}
