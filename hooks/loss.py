"""Cross-entropy of answers, position by position.

HookedTransformer's own loss scores the next token of the whole sequence, which is wrong where
the answer is read at one position; losses here are always computed from logits and targets.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def token_losses(
    logits: Float[Tensor, "*batch d_vocab_out"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Negative log-likelihood of each target, in nats, in the dtype of the logits.

    float32 quantises losses below 1e-7; pass float64 logits where small losses matter.
    """
    log_probabilities = torch.log_softmax(logits, dim=-1)
    return -log_probabilities.gather(-1, targets[..., None])[..., 0]
