"""Cross-entropy of answers, position by position.

HookedTransformer's own loss scores the next token of the whole sequence, which is wrong where
the answer is read at one position; losses here are always computed from logits and targets.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus


def token_losses(
    logits: Float[Tensor, "*batch d_vocab_out"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Negative log-likelihood of each target, in nats, in the dtype of the logits.

    float32 quantises losses below 1e-7; pass float64 logits where small losses matter.
    """
    answers = targets[..., None]
    if logits.shape[-1] == 2:
        # softplus(other logit - right logit): the same, and many times cheaper for stacks.
        ahead = logits.gather(-1, 1 - answers) - logits.gather(-1, answers)
        return softplus(ahead, threshold=40.0).squeeze(-1)
    return -torch.log_softmax(logits, dim=-1).gather(-1, answers).squeeze(-1)
