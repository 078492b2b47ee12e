"""The HookedTransformer that this toolkit trains, loads and measures.

Names, shapes, hook points and numbers are those of transformer-lens 3.9's HookedTransformer;
nothing of that library is imported. Tokens, or real inputs, become a residual stream that blocks
read and write to, and of which the unembedding makes logits:

    resid = embed(x) + pos   resid = block(resid), block by block   logits = norm(resid) W_U + b_U

The parts are chosen when a model is built (`hooks.transformer.config` says which there are).
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, linear

from hooks.hook_points import HookedRootModule, HookPoint
from hooks.transformer.block import block_class
from hooks.transformer.config import HookedTransformerConfig, config_of_options
from hooks.transformer.dropout import dropping
from hooks.transformer.norms import NORMS
from hooks.transformer.positions import LearnedPositions, Places, SinusoidalPositions, places_of

# Hook points that fire only where an option asks for them, since they take memory.
OPTIONAL_POINTS = {
    "hook_result": "use_attn_result",
    "hook_q_input": "use_split_qkv_input",
    "hook_k_input": "use_split_qkv_input",
    "hook_v_input": "use_split_qkv_input",
    "hook_attn_in": "use_attn_in",
    "hook_mlp_in": "use_hook_mlp_in",
}
# Buffers in states of TransformerLens' models; what they hold follows from the config.
BUFFERS_OF_TRANSFORMER_LENS = ("mask", "IGNORE", "rotary_sin", "rotary_cos")


class Embed(nn.Module):
    """A row of W_E for each token."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.W_E: Tensor = nn.Parameter(torch.empty(cfg.d_vocab or 0, cfg.d_model, dtype=cfg.dtype))
        self.scale = math.sqrt(cfg.d_model) if cfg.scale_embeddings else 1.0

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """Rows of W_E."""
        rows = embedding(tokens, self.W_E)
        return rows if self.scale == 1 else rows * self.scale


class ReadIn(nn.Module):
    """A linear layer from real inputs to the residual stream, in the place of the embedding."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.W_E: Tensor = nn.Parameter(torch.empty(cfg.d_in or 1, cfg.d_model, dtype=cfg.dtype))
        self.b_E: Tensor = nn.Parameter(torch.empty(cfg.d_model, dtype=cfg.dtype))

    def forward(self, inputs: Float[Tensor, "batch pos d_in"]) -> Float[Tensor, "batch pos d"]:
        """What each position's input adds to the residual stream."""
        return linear(inputs.to(self.W_E.dtype), self.W_E.T, self.b_E)


class Unembed(nn.Module):
    """Logits of the residual stream."""

    def __init__(self, cfg: HookedTransformerConfig, embed: Embed | ReadIn) -> None:
        super().__init__()
        # A module in a tuple is not registered: the embedding keeps its one name.
        self.tied = (embed,) if cfg.tie_word_embeddings else None
        if self.tied is None:
            weights = torch.empty(cfg.d_model, cfg.d_vocab_out, dtype=cfg.dtype)
            self.W_U: Tensor = nn.Parameter(weights)
        self.b_U: Tensor = nn.Parameter(torch.zeros(cfg.d_vocab_out, dtype=cfg.dtype))
        self.hook_in, self.hook_out = HookPoint(), HookPoint()

    def forward(self, residual: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos class"]:
        """Residual W_U + b_U."""
        weights = self.W_U.T if self.tied is None else self.tied[0].W_E
        return self.hook_out(linear(self.hook_in(residual), weights, self.b_U))


class HookedTransformer(HookedRootModule):
    """A transformer all of whose activations have a name and can be replaced.

    Args:
        cfg: Its shape; options, by HookedTransformerConfig's names, do as well.
    """

    def __init__(self, cfg: HookedTransformerConfig | dict[str, Any]) -> None:
        super().__init__()
        cfg = config_of_options(cfg, "HookedTransformer") if isinstance(cfg, dict) else cfg
        self.cfg = cfg
        self.embed = Embed(cfg) if cfg.d_in is None else ReadIn(cfg)
        self.hook_embed = HookPoint()
        kind = cfg.positional_embedding_type
        if kind in ("standard", "shortformer", "sinusoidal"):
            sinusoidal = kind == "sinusoidal"
            self.pos_embed = (SinusoidalPositions if sinusoidal else LearnedPositions)(cfg)
            self.hook_pos_embed = HookPoint()
        self.dropout = dropping(cfg.dropout)
        self.blocks: Any = nn.ModuleList(block_class(cfg)(cfg) for _ in range(cfg.n_layers))
        if cfg.norm_position == "pre" and cfg.normalization_type is not None:
            self.ln_final = NORMS[cfg.normalization_type](cfg)
        self.unembed = Unembed(cfg, self.embed)
        self.setup()
        if cfg.init_weights:
            self.init_weights()
        self.to(cfg.device)

    def forward(
        self,
        input: Any,
        return_type: str | None = "logits",
        *,
        start_at_layer: int | None = None,
        stop_at_layer: int | None = None,
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        past_kv_cache: Sequence[Any] | None = None,
        shortformer_pos_embed: Float[Tensor, "batch pos d_model"] | None = None,
        tokens: Int[Tensor, "batch pos"] | None = None,
    ) -> Any:
        """Logits `[batch, pos, d_vocab_out]`, or the residual stream before a layer.

        Args:
            input: Tokens `[batch, pos]`, real inputs `[batch, pos, d_in]`, or, with
                `start_at_layer`, the residual stream before that layer.
            return_type: logits; loss for the mean loss of each next token; or None for nothing.
            start_at_layer: The first block that runs; counted from the end where negative.
            stop_at_layer: The first block that does not; the stream before it is returned.
            attention_mask: 1 where a token is real. Padding is not attended to and counts for no
                position. (TransformerLens ignores it where attention is bidirectional.)
            past_kv_cache: For each block, the keys and values of what was read before.
            shortformer_pos_embed: What queries and keys read besides a stream that is given.
            tokens: The tokens of a stream that is given, for the loss.

        Raises:
            ValueError: The input is of another shape or type, is longer than n_ctx, or a loss is
                asked for that is not of the next token.
        """
        if return_type not in ("logits", "loss", None):
            raise ValueError(f"return_type '{return_type}': take logits, loss or None")
        offset = past_kv_cache[0].past_keys.shape[1] if past_kv_cache is not None else 0
        beside = shortformer_pos_embed
        if start_at_layer is None:
            input = self._checked(input, offset)
            tokens = input
        if attention_mask is not None:
            _check_mask(attention_mask, input.shape[:2], offset, return_type)
        places = places_of(input.shape[1], offset, None if offset else attention_mask)
        if start_at_layer is None:
            residual, beside = self._embedded(input, places, attention_mask)
        else:
            residual = input
        hidden = self._hidden(input.shape[1], offset, attention_mask, input.device)
        layers = range(self.cfg.n_layers)[start_at_layer or 0 : stop_at_layer]
        if layers and beside is None and self.cfg.positional_embedding_type == "shortformer":
            raise ValueError(
                "start_at_layer: queries and keys of a shortformer model read positions beside the "
                "stream; give shortformer_pos_embed"
            )
        for layer in layers:
            past = None if past_kv_cache is None else past_kv_cache[layer]
            residual = self.blocks[layer](
                residual, beside=beside, hidden=hidden, places=places, past=past
            )
        if stop_at_layer is not None:
            return residual
        logits = self.unembed(self.ln_final(residual) if hasattr(self, "ln_final") else residual)
        if return_type == "loss":
            return self._loss(logits, tokens)
        return None if return_type is None else logits

    def check_hookable(self, name: str) -> None:
        """Refuses a hook point that an option of the config keeps from firing.

        Raises:
            ValueError: The option is off.
        """
        option = OPTIONAL_POINTS.get(name.split(".")[-1])
        if option is not None and not getattr(self.cfg, option):
            raise ValueError(
                f"hook point {name} exists but does not fire in this model: set "
                f"model.cfg.{option} = True"
            )

    def init_weights(self) -> None:
        """Draws the weights anew, from `cfg.seed` or torch's global generator.

        gpt2 (as in TransformerLens): matrices are normal, biases 0. xavier_uniform: matrices fill
        Xavier's interval, each head's as a slice of one matrix, W_in's with gain sqrt 2; biases of
        MLPs and of the unembedding are uniform within 1 / sqrt(fan_in), which is torch's default
        for linear layers, as is the read-in of real inputs in either mode.
        """
        if self.cfg.seed is not None:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.cfg.seed)
                self._draw()
        else:
            self._draw()

    @torch.no_grad()
    def _draw(self) -> None:
        if self.cfg.init_mode == "xavier_uniform":
            _draw_xavier(self)
        else:
            for name, parameter in self.named_parameters():
                if "W_" in name and not (self.cfg.d_in and name == "embed.W_E"):
                    nn.init.normal_(parameter, std=self.cfg.std)
        if isinstance(self.embed, ReadIn):
            bound = 1 / math.sqrt(self.cfg.d_in or 1)
            for parameter in (self.embed.W_E, self.embed.b_E):
                nn.init.uniform_(parameter, -bound, bound)

    def _checked(self, input: Any, offset: int) -> Tensor:
        """The input on the model's device.

        Raises:
            ValueError: It is of another shape or type, or is longer than n_ctx.
        """
        d_in, n_ctx = self.cfg.d_in, self.cfg.n_ctx
        came = f"{input.dtype} {list(input.shape)}" if isinstance(input, Tensor) else type(input)
        if d_in is None:
            is_right = (
                isinstance(input, Tensor) and not input.is_floating_point() and input.ndim in (1, 2)
            )
            wanted = "tokens [batch, pos]"
        else:
            is_right = isinstance(input, Tensor) and input.is_floating_point() and input.ndim == 3
            wanted = f"real numbers [batch, pos, {d_in}]"
        if not is_right:
            raise ValueError(f"input: {wanted} are wanted, got {came}")
        input = input[None] if input.ndim == 1 else input
        n_pos = offset + input.shape[1]
        if d_in is not None and (input.shape[2] != d_in or not 1 <= n_pos <= n_ctx):
            raise ValueError(
                f"input: 1 to {n_ctx} positions of {d_in} numbers are wanted, got "
                f"{input.shape[1]} of {input.shape[2]}"
            )
        if not input.shape[1]:
            raise ValueError(f"input: no positions; give 1 to {n_ctx}")
        if n_pos > n_ctx:
            raise ValueError(
                f"input: {n_pos} positions, and the model's n_ctx is {n_ctx}: shorten it"
            )
        return input.to(self.embed.W_E.device)

    def _embedded(
        self, input: Tensor, places: Places, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The first residual stream, and what queries and keys read beside it."""
        embed = self.hook_embed(self.embed(input))
        if not hasattr(self, "pos_embed"):
            return self.dropout(embed), None
        positions = self.pos_embed(places)
        if isinstance(places, Tensor) and attention_mask is not None:
            positions = positions * attention_mask[..., None]
        positions = positions.expand(embed.shape)
        if self.hook_pos_embed.is_hooked:
            positions = positions.clone()  # a function on it may write to it
        positions = self.hook_pos_embed(positions)
        if self.cfg.positional_embedding_type == "shortformer":
            return self.dropout(embed), positions
        return self.dropout(embed + positions), None

    def _hidden(
        self, n_pos: int, offset: int, attention_mask: Tensor | None, device: torch.device
    ) -> Tensor | None:
        """True where a query does not see a key; None where all is seen."""
        hidden = None
        if self.cfg.attention_dir == "causal":
            every = torch.ones(n_pos, offset + n_pos, dtype=torch.bool, device=device)
            hidden = every.triu(offset + 1)
        if attention_mask is not None and not offset:
            padding = ~attention_mask.bool()[:, None, None]
            hidden = padding.expand(-1, -1, n_pos, -1) if hidden is None else hidden | padding
        return hidden

    def _loss(self, logits: Tensor, tokens: Tensor | None) -> Tensor:
        """Mean loss of each next token, in nats.

        Raises:
            ValueError: Classes are no tokens.
        """
        if tokens is None or tokens.is_floating_point() or self.cfg.d_vocab != self.cfg.d_vocab_out:
            raise ValueError(
                "return_type 'loss' is that of the next token, and this model answers something "
                "else: take logits, and the loss of its task"
            )
        return cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Every move goes through here; `cfg.device` and `cfg.dtype` follow."""
        super()._apply(fn, recurse)
        self.cfg.device, self.cfg.dtype = self.embed.W_E.device.type, self.embed.W_E.dtype
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **options: Any
    ) -> None:
        """Buffers of TransformerLens' states hold nothing that is not in the config."""
        for name in [
            name for name in state_dict if name.split(".")[-1] in BUFFERS_OF_TRANSFORMER_LENS
        ]:
            del state_dict[name]
        super()._load_from_state_dict(state_dict, prefix, *args, **options)

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """The embedding."""
        return self.embed.W_E

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab_out"]:
        """The unembedding."""
        return self.embed.W_E.T if self.unembed.tied else self.unembed.W_U

    @property
    def b_U(self) -> Float[Tensor, " d_vocab_out"]:
        """The unembedding's bias."""
        return self.unembed.b_U

    @property
    def W_pos(self) -> Float[Tensor, "n_ctx d_model"]:
        """The vectors of positions."""
        return self.pos_embed.W_pos

    @property
    def W_E_pos(self) -> Float[Tensor, "row d_model"]:
        """Embedding and positions, one under the other."""
        return torch.cat([self.W_E, self.W_pos])

    @property
    def QK(self) -> Any:
        """W_Q W_K^T of every head, as TransformerLens' FactoredMatrix."""
        return _factored(self.W_Q, self.W_K.transpose(-1, -2))

    @property
    def OV(self) -> Any:
        """W_V W_O of every head, as TransformerLens' FactoredMatrix."""
        return _factored(self.W_V, self.W_O)

    def __getattr__(self, name: str) -> Any:
        """Weights of all blocks, the layer first: `W_Q [layer, head, d_model, d_head]`, ..."""
        part = BLOCK_WEIGHTS.get(name)
        if part is None:
            return super().__getattr__(name)
        return torch.stack([getattr(getattr(block, part), name) for block in self.blocks])

    def accumulated_bias(
        self, layer: int, mlp_input: bool = False, include_mlp_biases: bool = True
    ) -> Float[Tensor, " d_model"]:
        """The sum of the biases that blocks before a layer write.

        Args:
            layer: The block before which they are summed.
            mlp_input: Whether that block's attention counts as well.
            include_mlp_biases: Whether MLPs' count.
        """
        total = torch.zeros_like(self.blocks[0].attn.b_O)
        for block in self.blocks[:layer]:
            total = total + block.attn.b_O
            if include_mlp_biases and not self.cfg.attn_only:
                total = total + block.mlp.b_out
        return total + self.blocks[layer].attn.b_O if mlp_input else total

    def tokens_to_residual_directions(self, tokens: Any) -> Float[Tensor, "*batch d_model"]:
        """The columns of W_U that read off tokens' logits."""
        tokens = torch.as_tensor(tokens, device=self.W_E.device)
        return self.W_U.T[tokens]

    def all_head_labels(self) -> list[str]:
        """`L0H0`, `L0H1`, ... by layer and head."""
        layers, heads = range(self.cfg.n_layers), range(self.cfg.n_heads)
        return [f"L{layer}H{head}" for layer in layers for head in heads]


BLOCK_WEIGHTS = {
    **{f"{kind}_{letter}": "attn" for kind in "Wb" for letter in "QKVO"},
    **dict.fromkeys(["W_in", "W_gate", "W_out", "b_in", "b_out"], "mlp"),
}


def _factored(A: Tensor, B: Tensor) -> Any:
    from transformer_lens import FactoredMatrix  # seconds to import, and seldom wanted

    return FactoredMatrix(A, B)


def _check_mask(mask: Tensor, shape: torch.Size, offset: int, return_type: str | None) -> None:
    """Refuses a mask that does not belong to the input, or that the call cannot heed."""
    if return_type == "loss":
        raise ValueError("return_type 'loss' counts padding: take logits, and leave it out")
    if offset and not mask.all():
        raise ValueError("attention_mask: padding cannot be told with keys of the past; drop it")
    if not offset and mask.shape != shape:
        raise ValueError(
            f"attention_mask: {list(shape)} is wanted, as the input has it; got {list(mask.shape)}"
        )


def _draw_xavier(model: HookedTransformer) -> None:
    """Xavier-uniform matrices, and biases as torch draws those of linear layers."""
    cfg = model.cfg
    d_model, d_mlp, width = cfg.d_model, cfg.d_mlp or 0, cfg.n_heads * cfg.d_head
    matrices: Iterable[tuple[Tensor, int, int, float]] = [
        (model.W_E, len(model.W_E), d_model, 1.0),
        (model.W_U, d_model, cfg.d_vocab_out, 1.0),
    ]
    _fill(matrices)
    _within(model.b_U, 1 / math.sqrt(d_model))
    for block in model.blocks:
        attn, mlp = block.attn, block.mlp
        _fill(
            [(weights, d_model, width, 1.0) for weights in (attn.W_Q, attn.W_K, attn.W_V, attn.W_O)]
        )
        _fill([(mlp.W_in, d_model, d_mlp, math.sqrt(2)), (mlp.W_out, d_mlp, d_model, 1.0)])
        _within(mlp.b_in, 1 / math.sqrt(d_model))
        _within(mlp.b_out, 1 / math.sqrt(d_mlp))


def _fill(matrices: Iterable[tuple[Tensor, int, int, float]]) -> None:
    """Draws matrices within gain sqrt(6 / (fan_in + fan_out))."""
    for matrix, fan_in, fan_out, gain in matrices:
        _within(matrix, gain * math.sqrt(6 / (fan_in + fan_out)))


def _within(weights: Tensor, bound: float) -> None:
    nn.init.uniform_(weights, -bound, bound)
