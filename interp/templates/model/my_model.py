"""A bag of tokens: add their vectors, one hidden layer, logits."""

from types import SimpleNamespace
from typing import Literal

import torch
from hooks import Sizes
from hooks.hook_points import HookedRootModule, HookPoint
from hooks.models import OwnConfig
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn


class MyModel(OwnConfig):
    """The config: what [model] in the experiment's file may say.

    `kind` is given by where this class is.

    Attributes:
        d_model: Width of the tokens' vectors.
        d_mlp: Neurons.
        attention_dir: `causal`, since no position sees a later one: padded examples are taken. Of a
            model whose positions see later ones, leave this line out.
    """

    n_layers: int = Field(default=1, ge=1, le=1)  # the hidden layer, as analyses count them
    d_model: int = Field(default=64, ge=1)
    d_mlp: int = Field(default=128, ge=1)
    attention_dir: Literal["causal", "bidirectional"] = "causal"

    def build(self, sizes: Sizes, dtype: torch.dtype) -> "MyModelNetwork":
        """A network with fresh weights; the experiment's model seed is set already.

        Raises:
            ValueError: The task has real-valued inputs.
        """
        if sizes.d_vocab is None:
            raise ValueError("this model reads tokens, and the task has real-valued inputs")
        return MyModelNetwork(self, sizes, sizes.d_vocab, dtype)


class MyModelNetwork(HookedRootModule):
    """The network: at each position it sees the sum of the tokens so far, in no order."""

    def __init__(self, config: MyModel, sizes: Sizes, d_vocab: int, dtype: torch.dtype) -> None:
        super().__init__()
        # What analyses ask a model for: its config, its sizes, and where it is.
        self.cfg = SimpleNamespace(
            **sizes.model_dump(), config=config, n_layers=config.n_layers, device="cpu"
        )
        self.embed = nn.Embedding(d_vocab, config.d_model, dtype=dtype)
        nn.init.normal_(self.embed.weight, std=0.1)  # smaller than torch's, which learns by heart
        self.hidden = nn.Linear(config.d_model, config.d_mlp, dtype=dtype)
        self.unembed = nn.Linear(config.d_mlp, sizes.d_vocab_out, dtype=dtype)
        # Hook points are where activations are read and edited: snapshot.cache("hook_sum").
        self.hook_embed, self.hook_sum, self.hook_post = HookPoint(), HookPoint(), HookPoint()
        self.setup()  # last: it gives hook points their names

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab_out"]:
        """Logits at every position."""
        total = self.hook_sum(self.hook_embed(self.embed(tokens)).cumsum(1))
        return self.unembed(self.hook_post(torch.relu(self.hidden(total))))
