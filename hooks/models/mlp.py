"""One hidden layer on several operands: its config, its builder and its weight views.

    pre = sum_o W_E[x_o] W_in (+ b_in)    post = act(pre)    logits = post W_out W_U (+ b_U)

The operands x_o are tokens, or real vectors that multiply W_E. A *collapsed* side has one matrix
instead of two: W_in reads tokens, W_out writes logits. A *tied* last matrix is the first one
transposed and no parameter. There is neither attention nor a residual stream, and one position
out. Parameters: embed.W_E, blocks.0.mlp.{W_in, b_in, W_out}, unembed.{W_U, b_U}, those there are.

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023) and its
notebook on modular addition, whose variants differ in these options.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn.functional import embedding, pad

from hooks.models.base import HookedModel, Sizes

Activation = Literal["relu", "square", "abs", "gelu"]


class OneHiddenLayer(BaseModel):
    """What configs of networks with one hidden layer say where a transformer's would be asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

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


def build_mlp(config: MLPConfig, sizes: Sizes, dtype: torch.dtype) -> HookedModel:
    """A network with freshly drawn weights, from torch's global generator, on the CPU.

    Raises:
        ValueError: The config does not fit the task's sizes.
    """
    check_sizes(config, sizes)
    from hooks.models.hooked_mlp import HookedMLP

    return HookedMLP(config, sizes, dtype)


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


def first_weights(
    config: MLPConfig, parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series input d"]:
    """The first matrix; of separate embeddings the operands' columns side by side."""
    weights = parameters[config.first_matrix]
    if config.shared_embedding:
        return weights
    return rearrange(weights, "... operand input d -> ... input (operand d)")


def last_weights(
    config: MLPConfig, parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series d class"]:
    """The last matrix, with a column of zeros for a class whose logit is 0."""
    weights = parameters[config.last_matrix]
    if config.tied:
        weights = weights.transpose(-1, -2)
    return pad(weights, (1, 0)) if config.one_logit else weights


def neurons_read(
    config: MLPConfig, parameters: Mapping[str, Tensor]
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
    config: MLPConfig, parameters: Mapping[str, Tensor]
) -> Float[Tensor, "*series d_mlp class"]:
    """What each neuron adds to each class' logit."""
    writes = last_weights(config, parameters)
    return writes if config.collapsed_out else parameters["blocks.0.mlp.W_out"] @ writes


def look_up(
    tokens: Int[Tensor, "batch operand"], table: Float[Tensor, "*operand token d"]
) -> Float[Tensor, "batch operand d"]:
    """Each operand's row of a table, which may have one plane an operand."""
    if table.ndim == 2:
        return embedding(tokens, table)
    offsets = torch.arange(len(table), device=tokens.device) * table.shape[1]
    return embedding(tokens + offsets, table.flatten(0, 1))


VIEWS: dict[str, Callable[[MLPConfig, Mapping[str, Tensor]], Tensor]] = {
    "W_E": first_weights,
    "W_U": last_weights,
    "neuron_in": neurons_read,
    "neuron_out": neurons_write,
}
