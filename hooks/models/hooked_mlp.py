"""The module behind kind "mlp": imported only where one is built, since transformer_lens is slow.

Hook points: `hook_embed [batch, operand, d]` (what the first matrix gives for each operand),
`blocks.0.mlp.hook_pre`, `blocks.0.mlp.hook_post [batch, 1, d_mlp]`, `blocks.0.hook_mlp_out
[batch, 1, d_model]` (where the output side is not collapsed) and `hook_logits [batch, 1, class]`.
"""

import math
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import gelu, pad
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from hooks.models.base import Sizes
from hooks.models.mlp import MLPConfig, look_up

ACTIVATIONS = {"relu": torch.relu, "square": torch.square, "abs": torch.abs, "gelu": gelu}
TRUNCATION = 0.87962566103423978  # standard deviation of a standard normal cut at 2 on both sides


class Weights(nn.Module):
    """Parameters of one part, by name."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape, dtype=dtype)))


class Neurons(Weights):
    """The hidden layer's parameters and hook points."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype) -> None:
        super().__init__(shapes, dtype)
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()


class Block(nn.Module):
    """The hidden layer under the name that a transformer's first block gives it."""

    def __init__(self, mlp: Neurons, has_output: bool) -> None:
        super().__init__()
        self.mlp = mlp
        if has_output:
            self.hook_mlp_out = HookPoint()


class HookedMLP(HookedRootModule):
    """A network with one hidden layer and hook points."""

    def __init__(self, config: MLPConfig, sizes: Sizes, dtype: torch.dtype) -> None:
        super().__init__()
        self.config = config
        facts = sizes.model_dump() | {"config": config, "n_layers": 1, "n_answers": 1}
        self.cfg: Any = SimpleNamespace(**facts, device="cpu", dtype=dtype)
        shapes = _shapes(config, sizes)
        neurons = Neurons(shapes["mlp"], dtype)
        self.embed = Weights(shapes["embed"], dtype)
        self.blocks = nn.ModuleList([Block(neurons, has_output=not config.collapsed_out)])
        self.unembed = Weights(shapes["unembed"], dtype)
        # Identity rather than a dropout of 0, which vmap would take for randomness.
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.hook_embed, self.hook_logits = HookPoint(), HookPoint()
        self._initialise()
        self.setup()

    def forward(self, inputs: Shaped[Tensor, "batch pos ..."]) -> Float[Tensor, "batch 1 class"]:
        """Logits of tokens `[batch, operand]` or of real inputs `[batch, operand, d_in]`."""
        mlp: Any = self.blocks[0].mlp
        pre = self.reads(self.hook_embed(self.embeds(inputs)))
        post = mlp.hook_post(self.activates(mlp.hook_pre(pre)))
        return self.hook_logits(self.writes(self.dropout(post)))

    def embeds(self, inputs: Tensor) -> Float[Tensor, "batch operand d"]:
        """What the first matrix gives for each operand."""
        table = self._parameter(self.config.first_matrix)
        if self.cfg.d_vocab is not None:
            return look_up(inputs, table)
        operands = "batch o i, i d" if table.ndim == 2 else "batch o i, o i d"
        return einsum(inputs.to(table.dtype), table, f"{operands} -> batch o d")

    def reads(self, embedded: Float[Tensor, "batch operand d"]) -> Float[Tensor, "batch 1 d_mlp"]:
        """What neurons receive."""
        mlp: Any = self.blocks[0].mlp
        if self.config.collapsed_in:
            return self.adds(embedded)
        if self.config.shared_in:
            return self.adds(embedded.sum(1, keepdim=True) @ mlp.W_in)
        return self.adds(einsum(embedded, mlp.W_in, "batch o d, o d h -> batch o h"))

    def adds(self, read: Float[Tensor, "batch operand d_mlp"]) -> Float[Tensor, "batch 1 d_mlp"]:
        """The sum over operands, and the neurons' bias."""
        pre = read.sum(1, keepdim=True)
        return pre + self._parameter("blocks.0.mlp.b_in") if self.config.bias_in else pre

    def activates(self, pre: Float[Tensor, "*batch d_mlp"]) -> Float[Tensor, "*batch d_mlp"]:
        """The neurons' activations."""
        return ACTIVATIONS[self.config.act_fn](pre)

    def writes(self, post: Float[Tensor, "batch 1 d_mlp"]) -> Float[Tensor, "batch 1 class"]:
        """Logits of activations."""
        block: Any = self.blocks[0]
        if self.config.collapsed_out:
            return self.biased(post @ self.last)
        return self.biased(block.hook_mlp_out(post @ block.mlp.W_out) @ self.last)

    @property
    def last(self) -> Float[Tensor, "d column"]:
        """The last matrix; a class whose logit is 0 has no column."""
        weights = self._parameter(self.config.last_matrix)
        return weights.T if self.config.tied else weights

    def biased(self, logits: Float[Tensor, "batch 1 column"]) -> Float[Tensor, "batch 1 class"]:
        """Logits with their bias, and the 0 of a class that has none."""
        if self.config.bias_out:
            logits = logits + self._parameter("unembed.b_U")
        return pad(logits, (1, 0)) if self.config.one_logit else logits

    def _parameter(self, name: str) -> Tensor:
        # Not get_parameter, which refuses the plain tensors of torch.func.functional_call.
        return attrgetter(name)(self)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Normal weights cut at two standard deviations, biases of 0.

        An embedding and an unembedding have variance 2 / fan_in. Other matrices are cut from a
        normal of variance 1 / fan_in, which leaves them 0.77 / fan_in: both as in the notebook.
        """
        config = self.config
        tables = {"embed.W_E", "unembed.W_U", config.first_matrix}
        for name, weights in self.named_parameters():
            if weights.ndim > 1:
                is_table = name in tables and self.cfg.d_vocab is not None
                std = math.sqrt(2) / TRUNCATION if is_table else 1.0
                std /= math.sqrt(weights.shape[-2])
                nn.init.trunc_normal_(weights, std=std, a=-2 * std, b=2 * std)
        if config.embedding == "circle":
            table: Any = self.embed.W_E
            table.copy_(_circle(*table.shape[-2:]).expand_as(table))


def _shapes(config: MLPConfig, sizes: Sizes) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of the parameters by part and name."""
    n_inputs, n_logits = sizes.d_vocab or sizes.d_in or 0, sizes.d_vocab_out - config.one_logit
    tables = (n_inputs,) if config.shared_embedding else (sizes.n_ctx, n_inputs)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {"embed": {}, "mlp": {}, "unembed": {}}
    if config.collapsed_in:
        shapes["mlp"]["W_in"] = (*tables, config.d_mlp)
    else:
        shapes["embed"]["W_E"] = (*tables, config.d_model)
        operands = () if config.shared_in else (sizes.n_ctx,)
        shapes["mlp"]["W_in"] = (*operands, config.d_model, config.d_mlp)
    if config.bias_in:
        shapes["mlp"]["b_in"] = (config.d_mlp,)
    if not config.collapsed_out:
        shapes["mlp"]["W_out"] = (config.d_mlp, config.d_model)
    if not config.tied:
        part, name = ("mlp", "W_out") if config.collapsed_out else ("unembed", "W_U")
        width = config.d_mlp if config.collapsed_out else config.d_model
        shapes[part][name] = (width, n_logits)
    if config.bias_out:
        shapes["unembed"]["b_U"] = (n_logits,)
    return shapes


def _circle(n: int, d: int) -> Float[Tensor, "n d"]:
    """Cosine and sine of the frequencies 1 .. d / 2 over n residues, columns of unit norm."""
    frequencies = torch.arange(1, d // 2 + 1, dtype=torch.float64)
    angles = torch.arange(n, dtype=torch.float64)[:, None] * frequencies * (2 * math.pi / n)
    return torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(1) * math.sqrt(2 / n)
