"""The shape of a HookedTransformer, under HookedTransformerConfig's option names.

What TransformerLens has no option for, and this model does, stands at the end: layer norm after
each part, scaled embeddings, sinusoids, dropout, attention without biases, a pattern blended with a
constant, real inputs. Names and defaults of the others are those of transformer-lens 3.9.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Activation = Literal["relu", "gelu", "gelu_new", "silu", "gelu_fast"]
Normalization = Literal["LN", "LNPre", "RMS", "RMSPre"]
PositionalEmbedding = Literal["standard", "shortformer", "rotary", "sinusoidal", "none"]


# Options of which no more than one of a pair can be taken.
POST, XAVIER = "norm_position = post", "init_mode = xavier_uniform"
CONTRADICTIONS = (
    *((POST, name) for name in ("attn_only", "parallel_attn_mlp", "use_attn_in")),
    *((POST, name) for name in ("use_split_qkv_input", "positional_embedding_type = shortformer")),
    *((XAVIER, name) for name in ("attn_only", "gated_mlp", "n_key_value_heads")),
    *((XAVIER, name) for name in ("tie_word_embeddings", "learned positions")),
    *(("attn_only", name) for name in ("gated_mlp", "parallel_attn_mlp")),
    ("n_key_value_heads", "use_attn_in"),
    ("rotary_dim", "positions that are not rotary"),
    ("rotary_adjacent_pairs", "positions that are not rotary"),
)


class HookedTransformerConfig(BaseModel):
    """The shape of a HookedTransformer.

    Attributes:
        n_layers: Blocks.
        d_model: Width of the residual stream.
        n_ctx: Positions at most.
        d_head: Width of a head.
        n_heads: Heads a block; left out, d_model / d_head.
        d_mlp: Neurons a block; left out, 4 d_model.
        act_fn: Their nonlinearity; not asked for where there are none.
        d_vocab: Input tokens; left out where inputs are real numbers (`d_in`).
        d_vocab_out: Classes; left out, d_vocab.
        eps: Added to variances in norms.
        normalization_type: LN and RMS with learned weights, LNPre and RMSPre without, or None.
        attention_dir: Whether a position attends to later ones.
        attn_only: Whether there are no MLPs.
        positional_embedding_type: standard adds W_pos to the embedding; shortformer to what queries
            and keys read; rotary turns queries and keys; sinusoidal adds fixed waves; or none.
        rotary_dim: Components of each head's queries and keys that are turned; left out, d_head.
        rotary_base: The largest wavelength over 2 pi.
        rotary_adjacent_pairs: Whether components 2i and 2i + 1 turn together, and not i and
            i + rotary_dim / 2.
        parallel_attn_mlp: Whether the MLP reads the stream before attention has written.
        gated_mlp: Whether neurons are act(x W_gate) * (x W_in).
        n_key_value_heads: Heads of keys and values, each shared by n_heads / n_key_value_heads.
        tie_word_embeddings: Whether W_U is W_E transposed, and no parameter.
        attn_scale: What scores are divided by; left out, sqrt(d_head).
        initializer_range: Standard deviation of the first weights; negative for
            0.8 / sqrt(d_model).
        init_weights: Whether weights are drawn; otherwise they hold anything.
        seed: Seed of the first weights; left out, they come from torch's global generator.
        dtype: Type of the parameters.
        device: Where the model is.
        use_attn_result: Whether hook_result, what each head writes, fires.
        use_split_qkv_input: Whether hook_q_input, hook_k_input and hook_v_input fire, a copy of the
            stream for each head.
        use_attn_in: Whether hook_attn_in fires, a copy of the stream for each head.
        use_hook_mlp_in: Whether hook_mlp_in fires.
        model_name: What it is called.
        norm_position: pre reads normalised streams, post normalises the stream after each addition.
        scale_embeddings: Whether embeddings are multiplied by sqrt(d_model).
        attention_biases: Whether attention has biases; otherwise they are zeros, no parameters.
        init_mode: gpt2 draws normal matrices, xavier_uniform uniform ones with biases as torch
            draws them.
        dropout: Probability while training, after the embedding, on attention weights and on what
            attention and MLP write.
        neuron_dropout: Probability while training with which a neuron is dropped.
        pattern_coeff: c of pattern = c softmax(scores) + 1 - c, which is not divided by the number
            of keys (Zhong et al. 2023, arXiv:2306.17844).
        d_in: Components of a real-valued input.
        config: The config of a model's kind that this one was made from.
    """

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, arbitrary_types_allowed=True
    )

    n_layers: int = Field(ge=1)
    d_model: int = Field(ge=1)
    n_ctx: int = Field(ge=1)
    d_head: int = Field(ge=1)
    n_heads: int = Field(default=-1, ge=-1)
    d_mlp: int | None = Field(default=None, ge=1)
    act_fn: Activation | None = None
    d_vocab: int | None = Field(default=None, ge=1)
    d_vocab_out: int = Field(default=-1, ge=-1)
    eps: float = Field(default=1e-5, ge=0, allow_inf_nan=False)
    normalization_type: Normalization | None = "LN"
    attention_dir: Literal["causal", "bidirectional"] = "causal"
    attn_only: bool = False
    positional_embedding_type: PositionalEmbedding = "standard"
    rotary_dim: int | None = Field(default=None, ge=2, multiple_of=2)
    rotary_base: float = Field(default=10_000, gt=0, allow_inf_nan=False)
    rotary_adjacent_pairs: bool = False
    parallel_attn_mlp: bool = False
    gated_mlp: bool = False
    n_key_value_heads: int | None = Field(default=None, ge=1)
    tie_word_embeddings: bool = False
    attn_scale: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    initializer_range: float = Field(default=-1.0, allow_inf_nan=False)
    init_weights: bool = True
    seed: int | None = None
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    use_attn_result: bool = False
    use_split_qkv_input: bool = False
    use_attn_in: bool = False
    use_hook_mlp_in: bool = False
    model_name: str = "custom"
    norm_position: Literal["pre", "post"] = "pre"
    scale_embeddings: bool = False
    attention_biases: bool = True
    init_mode: Literal["gpt2", "xavier_uniform"] = "gpt2"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    neuron_dropout: float = Field(default=0.0, ge=0, lt=1)
    pattern_coeff: float = Field(default=1.0, allow_inf_nan=False)
    d_in: int | None = Field(default=None, ge=1)
    config: Any = None

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, options: Any) -> Any:
        """Options with the sizes that follow from others."""
        if not isinstance(options, dict):
            return options
        options = dict(options)
        if options.get("n_heads", -1) == -1 and {"d_model", "d_head"} <= options.keys():
            options["n_heads"] = options["d_model"] // options["d_head"]
        if options.get("d_mlp") is None and not options.get("attn_only") and "d_model" in options:
            options["d_mlp"] = 4 * options["d_model"]
        if options.get("d_vocab") == -1:  # as TransformerLens leaves it out
            options["d_vocab"] = None
        if options.get("d_vocab_out", -1) == -1:
            options["d_vocab_out"] = options.get("d_vocab") or -1
        if options.get("rotary_dim") is None and (
            options.get("positional_embedding_type") == "rotary"
        ):
            options["rotary_dim"] = options.get("d_head")
        return options

    @model_validator(mode="after")
    def _fits(self) -> "HookedTransformerConfig":
        if self.d_vocab is None and self.d_in is None:
            raise ValueError(
                "d_vocab is missing: give the number of tokens, or d_in for real inputs"
            )
        if self.d_vocab_out < 1:
            raise ValueError("d_vocab_out is missing: give the number of classes or outputs")
        if self.act_fn is None and not self.attn_only:
            raise ValueError("act_fn is missing: give the MLPs' nonlinearity, or attn_only = true")
        if self.n_key_value_heads and self.n_heads % self.n_key_value_heads:
            raise ValueError(
                f"n_heads {self.n_heads} is not a multiple of n_key_value_heads "
                f"{self.n_key_value_heads}: change one"
            )
        if self.rotary_dim and self.rotary_dim > self.d_head:
            raise ValueError(
                f"rotary_dim {self.rotary_dim} is more than a head's {self.d_head}: lower it"
            )
        if self.n_heads < 1:
            raise ValueError(
                f"n_heads is {self.n_heads}: give it, or a d_head that divides d_model "
                f"{self.d_model}"
            )
        if self.tie_word_embeddings and self.d_vocab != self.d_vocab_out:
            raise ValueError(
                f"tie_word_embeddings needs as many tokens as classes (got {self.d_vocab} and "
                f"{self.d_vocab_out}): set it to false"
            )
        if self.positional_embedding_type == "sinusoidal" and self.d_model % 2:
            raise ValueError(
                f"d_model {self.d_model} is odd: positions are a sine and a cosine a frequency"
            )
        return self

    @model_validator(mode="after")
    def _options_agree(self) -> "HookedTransformerConfig":
        stated = self._stated()
        for first, second in CONTRADICTIONS:
            if stated[first] and stated[second]:
                raise ValueError(f"{first} does not go with {second}: drop either")
        return self

    def _stated(self) -> dict[str, bool]:
        """Which of the options that contradict others are taken."""
        positions = self.positional_embedding_type
        return {
            "attn_only": self.attn_only,
            "gated_mlp": self.gated_mlp,
            "parallel_attn_mlp": self.parallel_attn_mlp,
            "n_key_value_heads": self.n_key_value_heads is not None,
            "tie_word_embeddings": self.tie_word_embeddings,
            "use_attn_in": self.use_attn_in,
            "use_split_qkv_input": self.use_split_qkv_input,
            "norm_position = post": self.norm_position == "post",
            "init_mode = xavier_uniform": self.init_mode == "xavier_uniform",
            "positional_embedding_type = shortformer": positions == "shortformer",
            "learned positions": positions in ("standard", "shortformer"),
            "positions that are not rotary": positions != "rotary",
            "rotary_dim": self.rotary_dim is not None,
            "rotary_adjacent_pairs": self.rotary_adjacent_pairs,
        }

    @property
    def std(self) -> float:
        """Standard deviation of the first weights."""
        negative = self.initializer_range < 0
        return 0.8 / self.d_model**0.5 if negative else self.initializer_range


def config_of_options(options: Mapping[str, Any], source: str) -> HookedTransformerConfig:
    """A config of options by their names.

    Args:
        options: The options.
        source: Where they come from, for messages.

    Raises:
        ValueError: One is unknown or wrong, or they contradict each other; in one line.
    """
    try:
        return HookedTransformerConfig(**options)
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc']))} is {fault['input']!r}: {fault['msg']}"
            if fault["loc"]
            else fault["msg"].removeprefix("Value error, ")
            for fault in error.errors()
        )
        raise ValueError(f"{source}: {'; '.join(faults)}") from None
