"""One hidden layer on several operands: its config, its builder and its weight views.

    pre = sum_o W_E[x_o] W_in (+ b_in)    post = act(pre)    logits = post W_out W_U (+ b_U)

The operands x_o are tokens, or real vectors that multiply W_E. A *collapsed* side has one matrix
instead of two: W_in reads tokens, W_out writes logits. A *tied* last matrix is the first one
transposed and no parameter. There is neither attention nor a residual stream, and one position
out. Parameters: embed.W_E, blocks.0.mlp.{W_in, b_in, W_out}, unembed.{W_U, b_U}, those there are.
Hook points: `hook_embed [batch, operand, d]` (what the first matrix gives for each operand),
`blocks.0.mlp.hook_pre`, `blocks.0.mlp.hook_post [batch, 1, d_mlp]`, `blocks.0.hook_mlp_out
[batch, 1, d_model]` (where the output side is not collapsed), `hook_logits [batch, 1, class]`.

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023) and its
notebook on modular addition, whose variants differ in these options.
"""

import math
from collections.abc import Mapping
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int, Shaped
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, pad

from hooks.hook_points import HookedRootModule, HookPoint
from hooks.models.base import HookedModel, KindConfig, Sizes, View

Activation = Literal["relu", "square", "abs", "gelu"]
ACTIVATIONS = {"relu": torch.relu, "square": torch.square, "abs": torch.abs, "gelu": gelu}
TRUNCATION = 0.87962566103423978  # standard deviation of a standard normal cut at 2 on both sides


class OneHiddenLayer(KindConfig):
    """What configs of networks with one hidden layer say where a transformer's would be asked."""

    @property
    def n_layers(self) -> int:
        """One block of neurons."""
        return 1

    @property
    def attention_dir(self) -> Literal["bidirectional"]:
        """No attention: the answer sees every operand."""
        return "bidirectional"

    @property
    def normalization_type(self) -> None:
        """No layer norm."""
        return None


def first_weights(
    config: "MLPConfig", parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series input d"]:
    """The first matrix; of separate embeddings the operands' columns side by side."""
    weights = parameters[config.first_matrix]
    if config.shared_embedding:
        return weights
    return rearrange(weights, "... operand input d -> ... input (operand d)")


def last_weights(
    config: "MLPConfig", parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series d class"]:
    """The last matrix, with a column of zeros for a class whose logit is 0."""
    weights = parameters[config.last_matrix]
    if config.tied:
        weights = weights.transpose(-1, -2)
    return pad(weights, (1, 0)) if config.one_logit else weights


def neurons_read(
    config: "MLPConfig", parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series operand input d_mlp"]:
    """What each neuron receives from each token of each operand, or by unit of each real input.

    Operands that share all their weights are one operand.
    """
    reads = parameters[config.first_matrix]
    if config.shared_embedding:
        reads = reads.unsqueeze(-3)
    if config.collapsed_in:
        return reads
    projection = parameters["blocks.0.mlp.W_in"]
    return reads @ (projection.unsqueeze(-3) if config.shared_in else projection)


def neurons_write(
    config: "MLPConfig", parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series d_mlp class"]:
    """What each neuron adds to each class' logit."""
    writes = last_weights(config, parameters)
    return writes if config.collapsed_out else parameters["blocks.0.mlp.W_out"] @ writes


class MLPConfig(OneHiddenLayer):
    """A network with one hidden layer.

    Attributes:
        d_model: Width of the embedding and of what W_out writes; not used on a collapsed side.
        d_mlp: Neurons.
        act_fn: Their nonlinearity.
        tied: Whether the last matrix is the first one transposed.
        shared_embedding: Whether all operands have one embedding; else W_E (or a collapsed W_in)
            has a leading operand axis.
        shared_in: Whether all operands have one W_in; else it has a leading operand axis. Does
            not matter where the input side is collapsed.
        collapsed_in: Whether the input side is one matrix, W_in, on tokens or inputs.
        collapsed_out: Whether the output side is one matrix, W_out, to logits.
        bias_in: Whether neurons have a bias b_in.
        bias_out: Whether logits have a bias b_U.
        one_logit: Whether, of two classes, the first one's logit is 0: the last matrix then has a
            single column, and cross-entropy is that of logistic regression.
        dropout: Probability with which a neuron is dropped while training.
        embedding: random, or circle: cosine and sine of the frequencies 1 .. d_model / 2 over the
            tokens as columns of unit norm, to be kept by `training.frozen`.
    """

    VIEWS: ClassVar[Mapping[str, View]] = {
        "W_E": first_weights,
        "W_U": last_weights,
        "neuron_in": neurons_read,
        "neuron_out": neurons_write,
    }

    kind: Literal["mlp"] = "mlp"
    d_model: int = Field(default=128, ge=1)
    d_mlp: int = Field(default=32, ge=1)
    act_fn: Activation = "relu"
    tied: bool = False
    shared_embedding: bool = True
    shared_in: bool = True
    collapsed_in: bool = False
    collapsed_out: bool = False
    bias_in: bool = False
    bias_out: bool = False
    one_logit: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    embedding: Literal["random", "circle"] = "random"

    @model_validator(mode="after")
    def _can_be_tied(self) -> "MLPConfig":
        if self.tied and not self.shared_embedding:
            raise ValueError(
                "tied needs one embedding for all operands: set shared_embedding = true, or "
                "tied = false"
            )
        if self.tied and self.one_logit:
            raise ValueError("tied gives each class a column and one_logit only one: drop either")
        if self.tied and self.collapsed_in != self.collapsed_out and self.d_model != self.d_mlp:
            raise ValueError(
                f"tied with one side collapsed needs d_model = d_mlp (got {self.d_model} and "
                f"{self.d_mlp}), since the first and the last matrix are one"
            )
        return self

    @model_validator(mode="after")
    def _circle_has_room(self) -> "MLPConfig":
        if self.embedding == "circle" and (self.collapsed_in or self.d_model % 2):
            raise ValueError(
                "embedding = circle needs an even d_model (a cosine and a sine a frequency) and "
                "collapsed_in = false"
            )
        return self

    @property
    def first_matrix(self) -> str:
        """The parameter that meets tokens or inputs."""
        return "blocks.0.mlp.W_in" if self.collapsed_in else "embed.W_E"

    @property
    def last_matrix(self) -> str:
        """The parameter that gives logits."""
        if self.tied:
            return self.first_matrix
        return "blocks.0.mlp.W_out" if self.collapsed_out else "unembed.W_U"

    def build(self, sizes: Sizes, dtype: torch.dtype) -> HookedModel:
        """A network with freshly drawn weights, from torch's global generator, on the CPU.

        Raises:
            ValueError: The config does not fit the task's sizes.
        """
        check_sizes(self, sizes)
        return HookedMLP(self, sizes, dtype)


def check_sizes(config: MLPConfig, sizes: Sizes) -> None:
    """Refuses a config that a task's sizes do not allow.

    Raises:
        ValueError: It ties or embeds what the task does not have, or answers other classes.
    """
    if sizes.d_vocab is None and (config.tied or config.embedding == "circle"):
        option = "tied" if config.tied else "embedding = circle"
        raise ValueError(f"model: {option} needs tokens, and this task has real inputs: drop it")
    if config.tied and sizes.d_vocab != sizes.d_vocab_out:
        raise ValueError(
            f"model: tied needs as many tokens as classes, this task has {sizes.d_vocab} and "
            f'{sizes.d_vocab_out}: leave out "=" (task.equals = false), or set tied = false'
        )
    if config.one_logit and sizes.d_vocab_out != 2:
        raise ValueError(
            f"model: one_logit is for two classes, this task has {sizes.d_vocab_out}: drop it"
        )
    if config.embedding == "circle" and config.d_model > (sizes.d_vocab or 0) - 1:
        raise ValueError(
            f"model: embedding = circle holds at most d_model = {(sizes.d_vocab or 0) - 1} columns "
            f"over {sizes.d_vocab} tokens (got {config.d_model}): lower it"
        )


def look_up(
    tokens: Int[Tensor, "batch operand"], table: Float[Tensor, "*operand token d"]
) -> Float[Tensor, "batch operand d"]:
    """Each operand's row of a table, which may have one plane an operand."""
    if table.ndim == 2:
        return embedding(tokens, table)
    offsets = torch.arange(len(table), device=tokens.device) * table.shape[1]
    return embedding(tokens + offsets, table.flatten(0, 1))


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
