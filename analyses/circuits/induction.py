"""Which heads look at what followed this token when it was last here, and do they matter?

On tokens of which a part is repeated, the query at q asks for the next token, which stood before at
q + 1 - lag. By head, over the queries that are scored and over examples:

    prefix_j     attention from q to (q + 1 - lag) + j; j = 0 is prefix matching, j = -1 goes to the
                 earlier copy of the query's own token
    previous_j   attention from q to q - j, over all queries q >= j; j = 1 is the previous token
    copying      sum Re / sum |.| of the eigenvalues of W_V W_O W_U W_E; and on real runs what the
                 head adds to the logits of the tokens it attends to, less what it adds to the mean

A score says where a head looks, not that it is used: the loss without the head stands beside it.

Source: Olsson et al. 2022 (arXiv:2209.11895), who report j = 0 alone and, of copying, eigenvalues
after Elhage et al. 2021; their in-context score compares the 500th and the 50th token.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.circuits.copying import (
    copying_eigenvalues,
    copying_logits,
    undefined_logits,
    unembedding,
)
from analyses.circuits.words import number
from analyses.findings import Finding, Strength, percent
from analyses.plots import PALETTE, Panel, bar, dots, grid, heatmap, line, ticks
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Drawings, Result
from hooks import Examples, Snapshot
from hooks.edit import without_heads
from hooks.examples import token_losses
from hooks.messages import at_step
from hooks.stream import stream

OFFSETS = tuple(range(-1, 16))  # j of prefix_j
DISTANCES = tuple(range(17))  # j of previous_j
# What is scored: its name, and the unit of the score.
SCORES = {
    "prefix_matching": "share of attention",
    "copying_eigenvalues": "score, -1 to 1",
    "copying_logits": "logits over the mean",
    "previous_token": "share of attention",
    "duplicate_token": "share of attention",
    "loss_increase": "loss without - with (nats)",
}
LEAST_ATTENTION = 0.1  # share of attention by which a head must exceed its controls
LEAST_NATS = 0.1  # by which the loss without a head must rise beyond that of the first snapshot
HEADS_NAMED = 16  # under a figure; of more heads only the first of a layer is named


@dataclass(frozen=True, eq=False)
class InductionScores(Result):
    """Where each head looks in repeated tokens, whether it copies, and what removing it costs.

    A row of the table is a head.

    Attributes:
        prefix: Attention from a scored query to what followed its token before, and to the
            positions around that; means over the queries that see the position, NaN where none.
        previous: Attention from every position to itself and to the positions before it; NaN at
            distances that no sequence has.
        uniform_prefix: `prefix` of a head that attends alike to every position it sees.
        uniform_previous: `previous` of such a head.
        copying_eigenvalues: Eigenvalue score of W_V W_O W_U W_E, in [-1, 1]: 1 where the head
            raises the logits of what it reads, if nothing stands between embedding, head and
            logits. Layer norm and biases are left out. NaN where the product is 0.
        copying_logits: At scored queries, what the head adds to the logits of the tokens it attends
            to, weighted by its attention, less what it adds to the mean logit. The last layer
            norm's scale is that of the run. NaN where `undefined_logits` says why.
        undefined_logits: Why what a head adds to the logits is not known; empty where it is.
        loss_increase: Loss of scored queries with the head's output set to 0, minus the loss, in
            nats: positive where the head helps.
        layer_loss_increase: The same with all heads of a layer set to 0: heads that do the same
            work can be missed one by one.
        untrained_scores: All scores of the first snapshot; NaN where none is known.
        queries: Number of scored queries.
        loss: Loss of scored queries, in nats.
        accuracy: Accuracy at scored queries.
        first_loss: Loss of the next token before anything is repeated, in nats; NaN where the model
            gives no answers there.
        chance: Accuracy of guessing; NaN if it is not known.
    """

    needs: ClassVar = Needs(
        tokens=True,
        classes=True,
        attention=True,
        shares=True,
        labels=("lag",),
        weights=("W_E", "W_U"),
    )
    count: ClassVar = 500
    reference: ClassVar = "first"
    sliding: ClassVar = ("scores", "prefix", "previous")
    coordinates: ClassVar = {"offset": OFFSETS, "distance": DISTANCES, "score": tuple(SCORES)}
    rows: ClassVar = ("layer", "head")
    columns: ClassVar = {name: name for name in SCORES}

    prefix: Float[np.ndarray, "layer head offset"]
    previous: Float[np.ndarray, "layer head distance"]
    uniform_prefix: Float[np.ndarray, " offset"]
    uniform_previous: Float[np.ndarray, " distance"]
    copying_eigenvalues: Float[np.ndarray, "layer head"]
    copying_logits: Float[np.ndarray, "layer head"]
    undefined_logits: str
    loss_increase: Float[np.ndarray, "layer head"]
    layer_loss_increase: Float[np.ndarray, " layer"]
    untrained_scores: Float[np.ndarray, "score layer head"]
    queries: int
    loss: float
    accuracy: float
    first_loss: float
    chance: float

    @classmethod
    def measure(
        cls, snapshot: Snapshot, *, reference: "InductionScores | None" = None
    ) -> "InductionScores":
        """Measures one snapshot on its examples.

        The model is run once for the scores, once for each head and once for each layer.

        Args:
            snapshot: A model with attention that predicts the next token, on repeated tokens: at
                each scored query q the answer is the token at q + 1 - `lag`.
            reference: The first snapshot's result; one of step 0 is its own.

        Raises:
            ValueError: The label `lag` is not true of the tokens, nothing is scored, the model
                answers with other classes than its tokens or has diverged, or `reference` is of
                another model.
        """
        queries = _queries(snapshot.examples)
        _check_repeats(snapshot.examples, queries)
        _check_vocabulary(snapshot)
        _check_finite(snapshot)
        reason = undefined_logits(snapshot)
        patterns = _attention(snapshot, queries, has_logits=not reason)
        loss, accuracy, first_loss = _losses(snapshot)
        lost, lost_by_layer = _loss_increases(snapshot, loss)
        shape = lost.shape
        measured = cls(
            **patterns,
            copying_eigenvalues=copying_eigenvalues(snapshot).numpy(),
            undefined_logits=reason,
            loss_increase=lost,
            layer_loss_increase=lost_by_layer,
            untrained_scores=np.full((len(SCORES), *shape), np.nan),
            queries=int(queries.sum()),
            loss=loss,
            accuracy=accuracy,
            first_loss=first_loss,
            chance=snapshot.examples.facts.chance,
        )
        first = measured if reference is None and snapshot.step == 0 else reference
        if first is None:
            return measured
        if first.loss_increase.shape != shape:
            raise ValueError(
                f"reference: it has {list(first.loss_increase.shape)} layers and heads, here are "
                f"{list(shape)}: measure it on the same model"
            )
        return replace(measured, untrained_scores=first.scores)

    @property
    def prefix_matching(self) -> Float[np.ndarray, "layer head"]:
        """Attention to what followed the query's token before."""
        return self.prefix[:, :, OFFSETS.index(0)]

    @property
    def duplicate_token(self) -> Float[np.ndarray, "layer head"]:
        """Attention to the earlier copy of the query's token."""
        return self.prefix[:, :, OFFSETS.index(-1)]

    @property
    def previous_token(self) -> Float[np.ndarray, "layer head"]:
        """Attention to the position before."""
        return self.previous[:, :, DISTANCES.index(1)]

    @property
    def scores(self) -> Float[np.ndarray, "score layer head"]:
        """All scores, in the order of `SCORES`."""
        return np.stack([getattr(self, name) for name in SCORES])

    @property
    def in_context_score(self) -> float:
        """Loss of scored queries minus that before anything is repeated: negative where it helps.

        Where only scored queries are trained, as in `repeated_tokens`, the second loss rises all
        the while: compare the first with that of guessing instead.
        """
        return self.loss - self.first_loss

    @property
    def head_names(self) -> tuple[str, ...]:
        """Heads as `layer.head`, in order."""
        layers, heads = self.loss_increase.shape
        return tuple(f"{layer}.{head}" for layer in range(layers) for head in range(heads))

    @property
    def induction_head(self) -> tuple[int, int]:
        """Layer and head with the most prefix matching."""
        layer, head = divmod(int(self.prefix_matching.argmax()), self.prefix.shape[1])
        return layer, head

    def summary(self) -> dict[str, float | str]:
        """Loss first; the best head of each layer; and of the best of all whether it copies.

        What uniform attention scores stands beside, and the first snapshot (NaN where it is not
        known). NaN too is what is undefined of that head, as the attributes say.
        """
        best = self.induction_head
        untrained = dict(zip(SCORES, self.untrained_scores, strict=True))
        return {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "in_context_score": self.in_context_score,
            **{
                f"{name}_{layer}": float(values.max())
                for name in ("prefix_matching", "previous_token")
                for layer, values in enumerate(getattr(self, name))
            },
            "uniform_prefix_matching": float(self.uniform_prefix[OFFSETS.index(0)]),
            "uniform_previous_token": float(self.uniform_previous[DISTANCES.index(1)]),
            "untrained_prefix_matching": float(untrained["prefix_matching"].max()),
            "untrained_previous_token": float(untrained["previous_token"].max()),
            "induction_head": f"{best[0]}.{best[1]}",
            "copying_eigenvalues": float(self.copying_eigenvalues[best]),
            "copying_logits": float(self.copying_logits[best]),
            "loss_increase": float(self.loss_increase[best]),
            "layer_loss_increase": float(self.layer_loss_increase[best[0]]),
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Whether a head looks at what followed before, whether it is missed, and which looks back.

        A head looks there where its attention exceeds uniform attention by a tenth; null where the
        best head of the first snapshot looks there as much. It is missed where the loss without it
        rises by a tenth of a nat more than at the first snapshot.
        """
        first = self.untrained_scores
        if isinstance(untrained, InductionScores) and untrained.scores.shape == first.shape:
            first = untrained.scores
        controls = dict(zip(SCORES, first, strict=True))
        prefix = self._looks("prefix_matching", "what followed the token before", controls)
        if prefix.strength == "not found":
            return (prefix,)
        previous = self._looks("previous_token", "the previous token", controls)
        return (prefix, self._missed(controls["loss_increase"]), previous)

    def _looks(
        self, score: str, where: str, controls: Mapping[str, Float[np.ndarray, "layer head"]]
    ) -> Finding:
        """Whether some head looks at a place more than uniform attention, and an untrained head."""
        shares, control = getattr(self, score), float(controls[score].max())
        uniform, figure = self.uniform_prefix[OFFSETS.index(0)], "prefix"
        if score == "previous_token":
            uniform, figure = self.uniform_previous[DISTANCES.index(1)], "previous"
        share, head = float(shares.max()), self.head_names[int(shares.argmax())]
        first = "" if math.isnan(control) else f", best untrained head {percent(control)}"
        beside = f"(uniform attention {percent(float(uniform))}{first})"
        if not share - uniform > LEAST_ATTENTION:
            text = f"No head looks much at {where}: head {head} most, with {percent(share)}"
            return Finding(f"{text} of its attention {beside}", "not found", figure)
        is_new = not share - control <= LEAST_ATTENTION  # also where no control is known
        text = f"Head {head} puts {percent(share)} of its attention on {where} {beside}"
        return Finding(text, "found" if is_new else "null", figure)

    def _missed(self, first: Float[np.ndarray, "layer head"]) -> Finding:
        """Whether the loss rises without the induction head, beside its layer and guessing."""
        best = self.induction_head
        rise, of_layer = self.loss_increase[best], self.layer_loss_increase[best[0]]
        control = float(first[best])
        text = f"Without head {best[0]}.{best[1]}, loss rises from {number(self.loss)} by "
        text += f"{number(rise)} nats, without all heads of its layer by {number(of_layer)}"
        beside = [] if math.isnan(control) else [f"at the first step by {control:.2g}"]
        beside += [f"guessing costs {-math.log(self.chance):.2f}"] if self.chance > 0 else []
        text += f" ({', '.join(beside)})" if beside else ""
        strength: Strength = "found" if rise > LEAST_NATS else "not found"
        if strength == "found" and rise - control <= LEAST_NATS:
            strength = "null"
        return Finding(text, strength, "scores")

    def figures(self) -> Mapping[str, Drawing]:
        """All scores of all heads beside their controls, and both profiles."""
        return Drawings(scores=self._scores, prefix=self._prefix, previous=self._previous)

    def _scores(self) -> Drawing:
        (layer, head), uniform = self.induction_head, self.uniform_prefix[OFFSETS.index(0)]
        chance = f" (guessing: {-math.log(self.chance):.2f})" if self.chance > 0 else ""
        return grid(
            [self._panel(index, name) for index, name in enumerate(SCORES)],
            title=f"Head {layer}.{head} has {self.prefix_matching[layer, head]:.2f} of its "
            f"attention on what followed before (uniform: {uniform:.2f}); loss {self.loss:.2f} nats"
            f"{chance}",
            across="head (layer.head)",
            columns=3,
            xaxis=self._ticks(),
        )

    def _panel(self, index: int, name: str) -> Panel:
        """A bar a head, a dot for the first snapshot, a line for uniform attention."""
        places = np.arange(len(self.head_names))
        traces = [bar(places, self.scores[index].ravel(), PALETTE[2]) | {"name": "this step"}]
        untrained = self.untrained_scores[index].ravel()
        if not np.isnan(untrained).all():
            marker = {"color": PALETTE[1], "symbol": "circle-open", "size": 9, "line": {"width": 2}}
            traces.append(dots(places, untrained, "first step", marker))
        level = {
            "prefix_matching": self.uniform_prefix[OFFSETS.index(0)],
            "previous_token": self.uniform_previous[DISTANCES.index(1)],
            "duplicate_token": self.uniform_prefix[OFFSETS.index(-1)],
        }.get(name)
        ends = np.array([-0.5, len(places) - 0.5])
        if level is not None:
            style = {"color": PALETTE[0], "dash": "dash", "width": 2}
            traces.append(line(ends, np.full(2, level), "uniform attention", style))
        if name == "loss_increase":
            traces.append(self._whole_layers())
        limits = (0.0, 1.0) if level is not None else None
        return Panel(name.replace("_", " "), SCORES[name], traces, limits)

    def _whole_layers(self) -> dict[str, Any]:
        """A level over all heads of a layer: the loss without any of them."""
        layers, heads = self.loss_increase.shape
        starts = np.arange(layers)[:, None] * heads
        x = (starts + np.array([-0.5, heads - 0.5, np.nan])).ravel()
        y = np.repeat(self.layer_loss_increase, 3)
        style = {"color": PALETTE[3], "dash": "dot", "width": 2}
        return line(x, y, "all heads of the layer", style)

    def _ticks(self) -> dict[str, Any]:
        """Names of heads under the figure, or of the first head of every layer."""
        if len(self.head_names) <= HEADS_NAMED:
            return ticks(self.head_names)
        first = range(0, len(self.head_names), self.prefix.shape[1])
        names = [self.head_names[place] for place in first]
        return ticks(self.head_names) | {"tickvals": list(first), "ticktext": names}

    def _prefix(self) -> Drawing:
        layer, head = self.induction_head
        return self._profile(
            self.prefix,
            self.uniform_prefix,
            OFFSETS,
            f"Head {layer}.{head} attends most to what followed the query's token earlier: "
            f"{self.prefix_matching[layer, head]:.2f} (uniform: "
            f"{self.uniform_prefix[OFFSETS.index(0)]:.2f})",
            "j, from what followed earlier",
        )

    def _previous(self) -> Drawing:
        layer, head = divmod(int(self.previous_token.argmax()), self.prefix.shape[1])
        return self._profile(
            self.previous,
            self.uniform_previous,
            DISTANCES,
            f"Head {layer}.{head} attends most to the previous position: "
            f"{self.previous_token[layer, head]:.2f} (uniform: "
            f"{self.uniform_previous[DISTANCES.index(1)]:.2f})",
            "j, positions before the query",
        )

    def _profile(
        self,
        profile: Float[np.ndarray, "layer head place"],
        uniform: Float[np.ndarray, " place"],
        places: tuple[int, ...],
        title: str,
        across: str,
    ) -> Drawing:
        """Attention by head and place, below that of a head that attends alike to all it sees."""
        return heatmap(
            np.vstack([uniform, profile.reshape(len(self.head_names), -1)]),
            title=title,
            axes=(across, "head (layer.head)"),
            unit="share of attention",
            limits=(0, 1),
            ticks=([str(place) for place in places], ["uniform", *self.head_names]),
        )


def places_and_counts(
    examples: Examples, queries: Bool[Tensor, "batch pos"], *, is_causal: bool
) -> tuple[Int[Tensor, "batch pos place"], Bool[Tensor, "batch pos place"]]:
    """The key positions of both profiles for each query, and which of these count.

    Offsets come first, then distances. A key counts that the query sees.

    Args:
        examples: Repeated tokens.
        queries: True at scored queries.
        is_causal: Whether a query sees no later key.
    """
    visible = examples.visible
    positions = torch.arange(visible.shape[1])
    earlier = positions - _lags(examples) + 1  # where the answer stood before
    keys = torch.cat(
        [
            earlier[..., None] + torch.tensor(OFFSETS),
            (positions[:, None] - torch.tensor(DISTANCES)).expand(len(visible), -1, -1),
        ],
        dim=2,
    )
    ends = visible.sum(1)[:, None, None]
    is_seen = (keys >= 0) & (keys < ends)
    if is_causal:
        is_seen &= keys <= positions[:, None]
    asked = [queries[..., None].expand(-1, -1, len(OFFSETS))]
    asked += [visible[..., None].expand(-1, -1, len(DISTANCES))]
    return keys, is_seen & torch.cat(asked, dim=2)


def attention_sums(
    pattern: Float[Tensor, "batch head query key"],
    keys: Int[Tensor, "batch query place"],
    counts: Bool[Tensor, "batch query place"],
) -> Float[Tensor, "head place"]:
    """Attention to each place, summed over the queries of which it counts, in float64."""
    index = keys.clamp(0, pattern.shape[3] - 1)[:, None].expand(-1, pattern.shape[1], -1, -1)
    return (pattern.gather(3, index).double() * counts[:, None]).sum((0, 2))


def _queries(examples: Examples) -> Bool[Tensor, "batch pos"]:
    """True at scored positions, of all positions."""
    missing = examples.model_inputs.shape[1] - examples.scored.shape[1]
    return torch.nn.functional.pad(examples.scored, (missing, 0))


def _lags(examples: Examples) -> Int[Tensor, "batch _"]:
    """The label `lag`, of one value an example or one a position."""
    lag = examples.label("lag").long()
    return lag[:, None] if lag.ndim == 1 else lag


def _check_repeats(examples: Examples, queries: Bool[Tensor, "batch pos"]) -> None:
    if not queries.any():
        raise ValueError("scored is False everywhere: score the queries whose answer is repeated")
    tokens = examples.model_inputs
    positions = torch.arange(tokens.shape[1])
    lags = _lags(examples).expand_as(tokens)
    earlier = positions + 1 - lags
    is_before = (earlier >= 0) & (lags >= 1)
    answers = torch.zeros_like(tokens)
    answers[queries] = examples.targets[examples.scored].to(answers)
    is_repeated = is_before & (tokens.gather(1, earlier.clamp(0, len(positions) - 1)) == answers)
    wrong = int((~is_repeated & queries).sum())
    if wrong:
        raise ValueError(
            f"labels['lag']: at {wrong} of {int(queries.sum())} scored positions q the answer is "
            "not the token at q + 1 - lag: give the distance from a token to its copy"
        )


def _check_vocabulary(snapshot: Snapshot) -> None:
    tokens, classes = len(snapshot.weights("W_E")), unembedding(snapshot).shape[1]
    if tokens != classes:
        raise ValueError(
            f"the model reads {tokens} tokens and answers with {classes} classes: take one that "
            "predicts the next token"
        )


def _check_finite(snapshot: Snapshot) -> None:
    values = {"logits": snapshot.logits()} | {n: snapshot.weights(n) for n in ("W_E", "W_U")}
    broken = [name for name, each in values.items() if not each.isfinite().all()]
    if broken:
        raise ValueError(
            f"{broken[0]} hold NaN or infinity{at_step(snapshot.step)}: the model has diverged; "
            "measure an earlier step"
        )


def _attention(
    snapshot: Snapshot, queries: Bool[Tensor, "batch pos"], *, has_logits: bool
) -> dict[str, Any]:
    """Both profiles, those of uniform attention, and `copying_logits`, in one pass."""
    examples, n_layers = snapshot.examples, snapshot.config.n_layers
    is_causal = snapshot.config.attention_dir == "causal"
    keys, counts = places_and_counts(examples, queries, is_causal=is_causal)
    n_counted = counts.sum((0, 1))

    def pattern_parts(pattern: Tensor, batch: slice) -> dict[str, Tensor]:
        pattern = pattern.cpu()
        parts = {"sums": attention_sums(pattern, keys[batch], counts[batch])[None]}
        return parts | ({"asked": pattern.transpose(1, 2)[queries[batch]]} if has_logits else {})

    def asked(activation: Tensor, batch: slice) -> dict[str, Tensor]:
        return {"asked": activation.cpu()[queries[batch]]}

    attention = [f"blocks.{layer}.attn." for layer in range(n_layers)]
    reducers: dict[str, Any] = {f"{name}hook_pattern": pattern_parts for name in attention}
    if has_logits:
        scale = ["ln_final.hook_scale"] if snapshot.has_hook_point("ln_final.hook_scale") else []
        reducers |= dict.fromkeys([*(f"{name}hook_z" for name in attention), *scale], asked)
    seen = stream(snapshot, reducers, combine=lambda parts: torch.cat([*parts]))
    sums = torch.stack([seen[f"{name}hook_pattern"]["sums"].sum(0) for name in attention])
    split = (len(OFFSETS), len(DISTANCES))
    prefix, previous = (sums / n_counted).split(split, dim=2)
    uniform = attention_sums(_uniform(examples, is_causal=is_causal), keys, counts)
    uniform_prefix, uniform_previous = (uniform[0] / n_counted).split(split)
    logits = torch.full(sums.shape[:2], torch.nan, dtype=torch.float64)
    if has_logits:
        logits = copying_logits(
            snapshot, queries, {name: part["asked"] for name, part in seen.items()}
        )
    return {
        "prefix": prefix.numpy(),
        "previous": previous.numpy(),
        "uniform_prefix": uniform_prefix.numpy(),
        "uniform_previous": uniform_previous.numpy(),
        "copying_logits": logits.numpy(),
    }


def _uniform(examples: Examples, *, is_causal: bool) -> Float[Tensor, "batch 1 query key"]:
    """The pattern of a head that attends alike to every key that is seen."""
    visible = examples.visible
    n_pos = visible.shape[1]
    is_seen = visible[:, None].expand(-1, n_pos, -1)
    if is_causal:
        is_seen = is_seen & torch.ones(n_pos, n_pos, dtype=torch.bool).tril()
    return (is_seen.double() / is_seen.sum(2, keepdim=True))[:, None]


def _losses(snapshot: Snapshot) -> tuple[float, float, float]:
    """Loss and accuracy of scored queries, and the loss before anything is repeated."""
    examples, logits = snapshot.examples, snapshot.logits()
    loss = _loss(snapshot)
    answers = examples.targets[examples.scored]
    accuracy = float((logits[examples.scored].argmax(1) == answers).double().mean())
    if logits.shape[1] < examples.model_inputs.shape[1]:
        return loss, accuracy, math.nan
    # A token is predicted before anything is repeated if it stands before the first scored query.
    is_repeated = examples.scored.any(1, keepdim=True)
    is_first = (examples.scored.long().cumsum(1)[:, 1:] == 0) & is_repeated
    predictions, tokens = logits[:, :-1][is_first], examples.model_inputs[:, 1:][is_first]
    first = float(token_losses(predictions.double(), tokens).mean()) if len(tokens) else math.nan
    return loss, accuracy, first


def _loss(snapshot: Snapshot) -> float:
    scored = snapshot.examples.scored
    answers = snapshot.logits()[scored].double()
    return float(token_losses(answers, snapshot.examples.targets[scored]).mean())


def _loss_increases(
    snapshot: Snapshot, loss: float
) -> tuple[Float[np.ndarray, "layer head"], Float[np.ndarray, " layer"]]:
    """By head, and by layer for all of its heads together: the loss without minus the loss."""
    layers = range(snapshot.config.n_layers)
    n_heads = len(snapshot.weights("blocks.0.attn.W_O"))

    def without(layer: int, heads: range) -> float:
        return _loss(snapshot.edited(without_heads(layer, heads))) - loss

    by_head = [[without(layer, range(h, h + 1)) for h in range(n_heads)] for layer in layers]
    by_layer = [without(layer, range(n_heads)) for layer in layers]
    return np.array(by_head), np.array(by_layer)
