"""GPT-NeoX, Pythia among them, as a HookedTransformer: its config, its builder, its weights.

Rotary positions on a share of each head, attention and MLP side by side on the same stream, layer
norms of their own, no sharing of embedding and unembedding. A model of Hugging Face's transformers
becomes config, sizes and parameters; TransformerLens' own conversion does it, which its
from_pretrained offers for official names alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from hooks.models.base import HookedModel, Sizes
from hooks.models.computed import check_computed


class NeoXConfig(BaseModel):
    """A HookedTransformer of GPT-NeoX's shape.

    Attributes:
        n_layers: Blocks.
        d_model: Width of the residual stream.
        n_heads: Heads a block, each d_model / n_heads wide.
        d_mlp: Neurons a block; left out, 4 d_model.
        act_fn: The MLP's nonlinearity.
        rotary_dim: Components of each head's queries and keys that positions turn, an even number.
        parallel_attn_mlp: Whether the MLP reads the stream before attention has written.
        eps: Added to variances in layer norms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["neox"] = "neox"
    n_layers: int = Field(default=6, ge=1)
    d_model: int = Field(default=512, ge=2)
    n_heads: int = Field(default=8, ge=1)
    d_mlp: int | None = Field(default=None, ge=1)
    act_fn: Literal["relu", "gelu", "gelu_new", "silu", "gelu_fast"] = "gelu"
    rotary_dim: int = Field(default=16, ge=2, multiple_of=2)
    parallel_attn_mlp: bool = True
    eps: float = Field(default=1e-5, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _heads_fit(self) -> "NeoXConfig":
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}: change one"
            )
        if self.rotary_dim > self.head_size:
            raise ValueError(
                f"rotary_dim {self.rotary_dim} is more than a head's {self.head_size}: lower it"
            )
        return self

    @property
    def attention_dir(self) -> Literal["causal"]:
        """Each position attends to itself and to those before it."""
        return "causal"

    @property
    def normalization_type(self) -> Literal["LN"]:
        """Layer norm before attention, before the MLP and before the unembedding."""
        return "LN"

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.d_model // self.n_heads

    @property
    def mlp_size(self) -> int:
        """`d_mlp`, or 4 d_model where it was left out."""
        return self.d_mlp or 4 * self.d_model


def build_neox(config: NeoXConfig, sizes: Sizes, dtype: torch.dtype) -> HookedModel:
    """A model with freshly drawn weights, from torch's global generator, on the CPU.

    Raises:
        ValueError: The task has real inputs instead of tokens.
    """
    if sizes.d_vocab is None:
        raise ValueError("model: kind neox reads tokens, this task has real inputs: take read_in")
    import warnings

    from transformer_lens import HookedTransformer

    with warnings.catch_warnings():
        # HookedTransformer is what this toolkit trains; it is pinned below its removal in 4.0.
        warnings.simplefilter("ignore", DeprecationWarning)
        model: Any = HookedTransformer(_transformer_lens_config(config, sizes, dtype))
    model.cfg.config = config  # read by config_of
    for block in model.blocks:
        # A NumPy scalar here breaks torch.compile and vmap together.
        block.attn.attn_scale = float(block.attn.attn_scale)
    return model


def neox_config(hugging_face: Any) -> tuple[NeoXConfig, Sizes]:
    """Config and sizes of a transformers GPTNeoXConfig.

    Raises:
        ValueError: It is of another architecture, lacks biases, or turns queries and keys by
            other angles than TransformerLens' defaults.
    """
    if getattr(hugging_face, "model_type", "") != "gpt_neox":
        came = getattr(hugging_face, "model_type", type(hugging_face).__name__)
        raise ValueError(f"a model of type gpt_neox is wanted, as Pythia's are; this is {came}")
    if not getattr(hugging_face, "attention_bias", True):
        raise ValueError("attention_bias = false: TransformerLens converts GPT-NeoX with biases")
    n_heads = hugging_face.num_attention_heads
    d_head = hugging_face.hidden_size // n_heads
    check_computed(_rotary(hugging_face), n_heads=n_heads, d_head=d_head)
    config = NeoXConfig(
        n_layers=hugging_face.num_hidden_layers,
        d_model=hugging_face.hidden_size,
        n_heads=n_heads,
        d_mlp=hugging_face.intermediate_size,
        act_fn=hugging_face.hidden_act,
        rotary_dim=_rotary_dim(hugging_face),
        parallel_attn_mlp=hugging_face.use_parallel_residual,
        eps=hugging_face.layer_norm_eps,
    )
    vocabulary, n_ctx = hugging_face.vocab_size, hugging_face.max_position_embeddings
    return config, Sizes(d_vocab=vocabulary, d_vocab_out=vocabulary, n_ctx=n_ctx)


def neox_parameters(model: Any, config: NeoXConfig, sizes: Sizes) -> dict[str, Tensor]:
    """Parameters by TransformerLens' names of a transformers GPTNeoXForCausalLM, in float32."""
    from transformer_lens.pretrained.weight_conversions.neox import convert_neox_weights

    found = convert_neox_weights(model, _transformer_lens_config(config, sizes, torch.float32))
    return {name: value.detach().float().contiguous() for name, value in found.items()}


def _rotary_dim(hugging_face: Any) -> int:
    """Where it is kept differs by transformers' version."""
    told = getattr(hugging_face, "rope_parameters", None) or {}
    share = told.get("partial_rotary_factor") or getattr(hugging_face, "rotary_pct", 1.0)
    return round(share * (hugging_face.hidden_size // hugging_face.num_attention_heads))


def _rotary(hugging_face: Any) -> dict[str, Any]:
    """What a config says of rotary angles, under HookedTransformerConfig's names where it has them.

    A kind of scaling (`linear`, `yarn`) goes under the name transformers gives it, unknown here.
    """
    told = getattr(hugging_face, "rope_parameters", None) or {}
    scaling = getattr(hugging_face, "rope_scaling", None) or {}
    kind = told.get("rope_type") or scaling.get("rope_type") or scaling.get("type")
    base = told.get("rope_theta") or getattr(hugging_face, "rotary_emb_base", None)
    return {"rotary_base": base, "rope_type": None if kind == "default" else kind}


def _transformer_lens_config(config: NeoXConfig, sizes: Sizes, dtype: torch.dtype) -> Any:
    from transformer_lens import HookedTransformerConfig

    return HookedTransformerConfig(
        **config.model_dump(exclude={"kind", "d_mlp"}),
        **sizes.model_dump(exclude={"d_in"}),
        d_head=config.head_size,
        d_mlp=config.mlp_size,
        positional_embedding_type="rotary",
        rotary_adjacent_pairs=False,
        normalization_type="LN",
        default_prepend_bos=False,
        dtype=dtype,
        device="cpu",
        seed=None,  # a seed here would reseed torch, NumPy and Python for the whole process
    )


VIEWS: dict[str, Callable[[NeoXConfig, Mapping[str, Tensor]], Tensor]] = {
    "W_E": lambda config, parameters: parameters["embed.W_E"],
    "W_U": lambda config, parameters: parameters["unembed.W_U"],
}
