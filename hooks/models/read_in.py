"""A HookedTransformer for real-valued inputs.

Position i's input, d_in numbers, is mapped into the residual stream by one linear layer:

    hook_embed = x_i W_E + b_E    resid_pre = hook_embed + W_pos[i]

All else is as in kind token, so that every hook point fires. With one output (a task's
d_vocab_out = 1) the model answers a real number at each position.

Source: Garg et al. 2022 (arXiv:2208.01066), section 2 and code: GPT-2 blocks with the tanh GELU,
one shared read-in. Their linear read-out is W_U and b_U here, drawn as TransformerLens draws them
(theirs as torch draws a linear layer, which is how the read-in is drawn here).
"""

from typing import ClassVar, Literal

from pydantic import Field

from hooks.models.token import TokenConfig
from hooks.transformer.config import Activation, Normalization


class ReadInConfig(TokenConfig):
    """A HookedTransformer whose embedding is a linear layer on real inputs.

    The options are those of kind token; the defaults are GPT-2's nonlinearity (`gelu_new`, the
    tanh GELU), layer norm and first weights.
    """

    READS: ClassVar[str] = "real inputs"

    kind: Literal["read_in"] = "read_in"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    act_fn: Activation = "gelu_new"
    normalization_type: Normalization | None = "LN"
    initializer_range: float = Field(default=0.02, allow_inf_nan=False)
    tie_word_embeddings: Literal[False] = False  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
