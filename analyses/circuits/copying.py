"""Does a head raise the logits of the tokens it attends to?

Two answers. By weights alone: the sum of real parts over the sum of magnitudes of the eigenvalues
of W_E W_V W_O W_U, which is 1 where reading a token raises that token, and says nothing of what
other layers write. On real runs: what a head adds to the logits of the tokens that it attends to,
less what it adds to the mean logit (direct logit attribution), the last norm's scale as it was.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", for both.
"""

from collections.abc import Mapping

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooks import Snapshot
from hooks.models.transformer import TransformerConfig

QUERIES_AT_ONCE = 256  # whose tokens' unembeddings are held together


def copying_eigenvalues(snapshot: Snapshot) -> Float[Tensor, "layer head"]:
    """Sum of real parts over sum of magnitudes of the eigenvalues of each head's copying.

    The matrix W_E W_V W_O W_U says what reading a token adds to every token's logit. Its nonzero
    eigenvalues are those of W_O W_U W_E W_V, which is no larger than a head. NaN where all are 0.

    Source:
        Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", summary statistic
        of copying.
    """
    between = unembedding(snapshot) @ snapshot.weights("W_E").double()
    scores = []
    for layer in range(snapshot.config.n_layers):
        W_V, W_O = (
            snapshot.weights(f"blocks.{layer}.attn.{name}").double() for name in ("W_V", "W_O")
        )
        values = torch.linalg.eigvals(W_O @ between @ W_V)
        scores.append(values.real.sum(1) / values.abs().sum(1))
    return torch.stack(scores)


def attended_logits(
    z: Float[Tensor, "query head d_head"],
    pattern: Float[Tensor, "query head key"],
    tokens: Int[Tensor, "query key"],
    W_O: Float[Tensor, "head d_head d_model"],
    W_U: Float[Tensor, "d_model d_vocab_out"],
) -> Float[Tensor, "query head"]:
    """What heads add to the logits of tokens they attend to, less what they add to the mean logit.

    Args:
        z: Values as heads mix them.
        pattern: How each head attends to the keys.
        tokens: The tokens at these keys.
        W_O: Of the heads.
        W_U: Of the model, centred over classes.
    """
    written = einsum(z, W_O, "query head h, head h d -> query head d")
    mixed = einsum(pattern, W_U.T[tokens], "query head key, query key d -> query head d")
    return (written * mixed).sum(2)


def undefined_logits(snapshot: Snapshot) -> str:
    """Why it is not known what a head adds to the logits; empty where it is."""
    if not isinstance(snapshot.config, TransformerConfig):
        return "the model is no HookedTransformer, whose stream is the sum of what its parts write"
    if getattr(snapshot.live.model.cfg, "norm_position", "pre") == "post":
        return "the stream is normalised after each addition, and no sum of what heads write"
    return ""


def copying_logits(
    snapshot: Snapshot, queries: Bool[Tensor, "batch pos"], asked: Mapping[str, Tensor]
) -> Float[Tensor, "layer head"]:
    """The mean of `attended_logits` over scored queries.

    Args:
        snapshot: A model whose stream is the sum of what its parts write.
        queries: True at scored queries.
        asked: By hook point, activations at scored queries, in order of examples and positions.
    """
    W_U = _behind_last_norm(snapshot, unembedding(snapshot))
    rows = queries.nonzero()[:, 0]
    tokens = snapshot.examples.model_inputs[rows]
    # The scale comes last of all, and what is linear can be divided by it first.
    scale = asked.get("ln_final.hook_scale", torch.ones(len(rows), 1)).double()
    means = []
    for layer in range(snapshot.config.n_layers):
        z, pattern = (asked[f"blocks.{layer}.attn.{name}"] for name in ("hook_z", "hook_pattern"))
        W_O = snapshot.weights(f"blocks.{layer}.attn.W_O").double()
        parts = [
            attended_logits(
                z[some].double() / scale[some, None], pattern[some].double(), tokens[some], W_O, W_U
            )
            for some in torch.arange(len(rows)).split(QUERIES_AT_ONCE)
        ]
        means.append(torch.cat(parts).mean(0))
    return torch.stack(means)


def unembedding(snapshot: Snapshot) -> Float[Tensor, "d_model d_vocab_out"]:
    """W_U of the classes that answer, in float64."""
    return snapshot.weights("W_U").double()[:, : snapshot.examples.facts.outputs]


def _behind_last_norm(
    snapshot: Snapshot, W_U: Float[Tensor, "d_model d_vocab_out"]
) -> Float[Tensor, "d_model d_vocab_out"]:
    """W_U with all that the last norm does but its scale, centred over classes."""
    gain = snapshot.parameters().get("ln_final.w")
    if gain is not None:
        W_U = gain.double().cpu()[:, None] * W_U
    if getattr(snapshot.live.model.cfg, "normalization_type", None) in ("LN", "LNPre"):
        W_U = W_U - W_U.mean(0)  # layer norm takes the mean off what it is given
    return W_U - W_U.mean(1, keepdim=True)
