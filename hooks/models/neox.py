"""GPT-NeoX, Pythia among them, as a HookedTransformer: its config and its weights.

Rotary positions on a share of each head, attention and MLP side by side on the same stream, layer
norms of their own, no sharing of embedding and unembedding. A model of Hugging Face's transformers
becomes config, sizes and parameters.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor

from hooks.models.base import Sizes
from hooks.models.transformer import TransformerConfig
from hooks.transformer.config import Activation


class NeoXConfig(TransformerConfig):
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
        rotary_base: The largest wavelength of the rotation over 2 pi.
    """

    # VIEWS lacks neuron_in and neuron_out: layer norms stand on both sides of a neuron.
    FIXED: ClassVar[Mapping[str, Any]] = {
        "positional_embedding_type": "rotary",
        "normalization_type": "LN",
    }

    kind: Literal["neox"] = "neox"
    n_layers: int = Field(default=6, ge=1)
    d_model: int = Field(default=512, ge=2)
    n_heads: int = Field(default=8, ge=1)
    d_mlp: int | None = Field(default=None, ge=1)
    act_fn: Activation = "gelu"
    rotary_dim: int = Field(default=16, ge=2, multiple_of=2)
    parallel_attn_mlp: bool = True
    eps: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    rotary_base: float = Field(default=10_000.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _rotation_fits(self) -> "NeoXConfig":
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


def neox_config(hugging_face: Any) -> tuple[NeoXConfig, Sizes]:
    """Config and sizes of a transformers GPTNeoXConfig.

    Raises:
        ValueError: It is of another architecture, lacks biases, or scales rotary angles.
    """
    if getattr(hugging_face, "model_type", "") != "gpt_neox":
        came = getattr(hugging_face, "model_type", type(hugging_face).__name__)
        raise ValueError(f"a model of type gpt_neox is wanted, as Pythia's are; this is {came}")
    if not getattr(hugging_face, "attention_bias", True):
        raise ValueError("attention_bias = false: kind neox has biases")
    # Where rotary settings are kept differs by transformers' version.
    rotary = getattr(hugging_face, "rope_parameters", None) or {}
    scaling = getattr(hugging_face, "rope_scaling", None) or {}
    rope_type = rotary.get("rope_type") or scaling.get("rope_type") or scaling.get("type")
    if rope_type not in (None, "default"):
        raise ValueError(f"rope_type is {rope_type!r} in the config; kind neox knows default only")
    share = rotary.get("partial_rotary_factor") or getattr(hugging_face, "rotary_pct", 1.0)
    base = rotary.get("rope_theta") or getattr(hugging_face, "rotary_emb_base", None) or 10_000
    n_heads = hugging_face.num_attention_heads
    config = NeoXConfig(
        n_layers=hugging_face.num_hidden_layers,
        d_model=hugging_face.hidden_size,
        n_heads=n_heads,
        d_mlp=hugging_face.intermediate_size,
        act_fn=hugging_face.hidden_act,
        rotary_dim=round(share * (hugging_face.hidden_size // n_heads)),
        parallel_attn_mlp=hugging_face.use_parallel_residual,
        eps=hugging_face.layer_norm_eps,
        rotary_base=float(base),
    )
    vocabulary, n_ctx = hugging_face.vocab_size, hugging_face.max_position_embeddings
    return config, Sizes(d_vocab=vocabulary, d_vocab_out=vocabulary, n_ctx=n_ctx)


def neox_parameters(model: Any, config: NeoXConfig) -> dict[str, Tensor]:
    """Parameters by HookedTransformer's names of a transformers GPTNeoXForCausalLM, in float32.

    One matrix there holds each head's query, key and value rows, one head after the other.
    """
    states = {name: value.detach().float() for name, value in model.state_dict().items()}
    output = "lm_head" if "lm_head.weight" in states else "embed_out"  # by transformers' version
    parameters = {
        "embed.W_E": states["gpt_neox.embed_in.weight"],
        "ln_final.w": states["gpt_neox.final_layer_norm.weight"],
        "ln_final.b": states["gpt_neox.final_layer_norm.bias"],
        "unembed.W_U": states[f"{output}.weight"].T,
        "unembed.b_U": torch.zeros(len(states[f"{output}.weight"])),
    }
    heads, part = config.n_heads, {"i": config.n_heads, "qkv": 3}
    for layer in range(config.n_layers):
        theirs, ours = f"gpt_neox.layers.{layer}", f"blocks.{layer}"
        joined = states[f"{theirs}.attention.query_key_value.weight"]
        weights = rearrange(joined, "(i qkv h) d -> qkv i d h", **part)
        bias = states[f"{theirs}.attention.query_key_value.bias"]
        biases = rearrange(bias, "(i qkv h) -> qkv i h", **part)
        for name, weight, offset in zip("QKV", weights, biases, strict=True):
            parameters[f"{ours}.attn.W_{name}"] = weight
            parameters[f"{ours}.attn.b_{name}"] = offset
        written = states[f"{theirs}.attention.dense.weight"]
        parameters[f"{ours}.attn.W_O"] = rearrange(written, "d (i h) -> i h d", i=heads)
        parameters[f"{ours}.attn.b_O"] = states[f"{theirs}.attention.dense.bias"]
        for side, name in {"h_to_4h": "in", "4h_to_h": "out"}.items():
            parameters[f"{ours}.mlp.W_{name}"] = states[f"{theirs}.mlp.dense_{side}.weight"].T
            parameters[f"{ours}.mlp.b_{name}"] = states[f"{theirs}.mlp.dense_{side}.bias"]
        for name, norm in {"ln1": "input_layernorm", "ln2": "post_attention_layernorm"}.items():
            parameters[f"{ours}.{name}.w"] = states[f"{theirs}.{norm}.weight"]
            parameters[f"{ours}.{name}.b"] = states[f"{theirs}.{norm}.bias"]
    return {name: value.contiguous() for name, value in parameters.items()}
