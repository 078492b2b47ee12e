"""Charts of spans: what a model makes of a span in its sentence, and of the span cut off from it.

A sentence is a row of positions, its words. Every word always sees what stands before the first
word (a start token). The state of a span in context is the sum, over its words, of what the last
block gives. The state of a span cut off is the same sum if, from a threshold layer upwards, no
query attends to a word outside the span. Positions keep their numbers, and the layers below the
threshold are run on the whole sentence.

Cost: a causal model's state at a word depends only on the words before it. Cut off, it depends only
on where the span starts, so that a pass over each of n suffixes gives all n (n + 1) / 2 spans. A
bidirectional model needs a pass for each span. A pass holds the span alone and begins with its
state below the threshold; passes of one length share a batch. If positions enter attention
(rotary), or hooks change the model and may count positions, a pass holds the whole sentence and the
keys outside the span are masked.

Source: Murty et al. 2023 (arXiv:2211.01288) and their released code, which runs n (n + 1) / 2
masked passes over the sentence for any model.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.live_model import LiveModel
from hooks.models import HookedModel
from hooks.snapshot import TOKENS_PER_BATCH, Snapshot

Compare = Callable[
    [Float[Tensor, "row span d_model"], Float[Tensor, "row span d_model"]],
    Float[Tensor, "row span"],
]


def span_batches(snapshot: Snapshot) -> Iterator[Int[Tensor, " example"]]:
    """The numbers of all examples, shortest first, in batches that `span_charts` takes.

    In a batch for a bidirectional model all sentences have one length, since its words would attend
    to padding.
    """
    lengths = snapshot.examples.visible.sum(1).cpu()
    order = lengths.sort(stable=True).indices
    start = 0
    while start < len(order):
        longest = lengths[order[start:]]
        fits = longest * torch.arange(1, len(longest) + 1) <= TOKENS_PER_BATCH
        if not _is_causal(snapshot):
            fits &= longest == longest[0]
        count = max(1, int(fits.sum()))
        yield order[start : start + count]
        start += count


def span_charts(
    snapshot: Snapshot, compare: Compare, *, first: int, thresholds: Sequence[int], uncut: float
) -> Float[Tensor, "threshold example start stop"]:
    """For each span, how similar its states are in the sentence and cut off from it, in float64.

    Args:
        snapshot: A transformer and a batch of sentences: examples whose real positions end with
            the sentence (`span_batches`).
        compare: A pure function from the states of spans in context and cut off to their
            similarity, in float64.
        first: The position of each sentence's first word.
        thresholds: Layers from which attention is cut.
        uncut: What `compare` gives where nothing is cut: for the whole sentence, and in a causal
            model for every span that begins with the first word.

    Returns:
        Cell (start, stop) is about the words from start to stop - 1, counted from `first`. It is
        `uncut` where the example has no such span.

    Raises:
        ValueError: A threshold is no layer of the model, or a bidirectional model is given
            sentences of several lengths.
    """
    _check(snapshot, thresholds)
    with snapshot.running() as model, torch.no_grad():
        device = snapshot.live.device
        lengths = snapshot.examples.visible.sum(1).to(device) - first
        tokens = snapshot.examples.model_inputs[:, : first + int(lengths.max())].to(device)
        with snapshot.seeing(torch.arange(len(tokens))):
            states = _states_before(model, tokens, thresholds)
        passes = _Passes(snapshot.live, first, lengths, _is_causal(snapshot), _is_masked(snapshot))
        size, d_model = int(lengths.max()) + 1, states[thresholds[0]].shape[2]
        whole = torch.zeros(len(lengths), size, d_model, dtype=torch.float64, device=device)
        charts = whole.new_full((len(thresholds), len(lengths), size, size), uncut)
        for chart, threshold in zip(charts, thresholds, strict=True):
            for length, rows in passes.rows():
                sums = passes.states(states[threshold], threshold, rows).double().cumsum(1)
                is_whole = rows[:, 2] - rows[:, 1] == lengths[rows[:, 0]]
                whole[rows[is_whole, 0], 1 : length + 1] = sums[is_whole]
                cut, sentence, start, stops = passes.spans(rows[~is_whole], sums[~is_whole])
                in_context = whole[sentence, stops] - whole[sentence, start]
                chart[sentence, start, stops] = compare(in_context, cut)
    return charts


@dataclass(frozen=True)
class _Passes:
    """Passes over sentences that are cut to some of their words.

    A pass is a row (sentence, start, stop) and is about the sentence's words start to stop - 1.
    """

    live: LiveModel
    first: int
    lengths: Int[Tensor, " example"]
    is_causal: bool
    is_masked: bool

    def rows(self) -> Iterator[tuple[int, Int[Tensor, "row 3"]]]:
        """All passes that are needed, also those over whole sentences.

        They come in batches of one length, the longest first; each batch comes with its length.
        """
        longest = int(self.lengths.max())
        bounds = torch.combinations(torch.arange(longest + 1, device=self.lengths.device))
        stop = self.lengths[:, None]
        fits = bounds[:, 1] == stop if self.is_causal else bounds[:, 1] <= stop
        sentence, bound = fits.nonzero().unbind(1)
        passes = torch.cat([sentence[:, None], bounds[bound]], dim=1)
        for length in range(longest, 0, -1):
            width = self.first + (longest if self.is_masked else length)
            chosen = passes[passes[:, 2] - passes[:, 1] == length]
            for rows in chosen.split(max(1, TOKENS_PER_BATCH // width)):
                yield length, rows

    def states(
        self, before: Float[Tensor, "example pos d_model"], layer: int, rows: Int[Tensor, "row 3"]
    ) -> Float[Tensor, "row word d_model"]:
        """What the last block gives at the words of each pass, which is run from a layer on."""
        length = int(rows[0, 2] - rows[0, 1])
        words = self.first + rows[:, 1, None] + torch.arange(length, device=rows.device)
        run = self.masked if self.is_masked else self.cut_out
        with self.live.seeing(rows[:, 0]):
            return run(before, layer, rows[:, 0], words)

    def cut_out(
        self,
        before: Float[Tensor, "example pos d_model"],
        layer: int,
        sentence: Int[Tensor, " row"],
        words: Int[Tensor, "row word"],
    ) -> Float[Tensor, "row word d_model"]:
        """The states of passes that hold only what precedes the sentence, and their words."""
        seen = torch.arange(self.first, device=words.device).expand(len(words), -1)
        inputs = before[sentence[:, None], torch.cat([seen, words], dim=1)]
        return self.through(inputs, layer)[:, self.first :]

    def masked(
        self,
        before: Float[Tensor, "example pos d_model"],
        layer: int,
        sentence: Int[Tensor, " row"],
        words: Int[Tensor, "row word"],
    ) -> Float[Tensor, "row word d_model"]:
        """The states of passes over the whole sentence, in which all other keys are masked."""
        visible = torch.zeros(len(words), before.shape[1], dtype=torch.bool, device=words.device)
        visible[:, : self.first] = True
        visible.scatter_(1, words, True)

        def mask(scores: Tensor, hook: Any) -> Tensor:
            return scores.masked_fill(~visible[:, None, None], -torch.inf)

        layers = range(layer, self.live.config.n_layers)
        hooks = [(f"blocks.{number}.attn.hook_attn_scores", mask) for number in layers]
        with self.live.model.hooks(fwd_hooks=hooks):
            states = self.through(before[sentence], layer)
        return states.gather(1, words[:, :, None].expand(-1, -1, states.shape[2]))

    def through(
        self, inputs: Float[Tensor, "row pos d_model"], layer: int
    ) -> Float[Tensor, "row pos d_model"]:
        """The residual stream after the last block."""
        stop = self.live.config.n_layers
        return self.live.model(inputs, start_at_layer=layer, stop_at_layer=stop)

    def spans(
        self, rows: Int[Tensor, "row 3"], sums: Float[Tensor, "row word d_model"]
    ) -> tuple[Float[Tensor, "row span d_model"], Tensor, Tensor, Tensor]:
        """The states of the spans that passes give, and each span's sentence, start and stop.

        A pass of a causal model gives every span that begins where the pass begins; a pass of
        another model gives the span of all its words.
        """
        sentence, start, stop = (column[:, None] for column in rows.unbind(1))
        if not self.is_causal:
            return sums[:, -1:], sentence, start, stop
        return sums, sentence, start, start + torch.arange(1, sums.shape[1] + 1, device=rows.device)


def _states_before(
    model: HookedModel, tokens: Int[Tensor, "example pos"], layers: Sequence[int]
) -> dict[int, Float[Tensor, "example pos d_model"]]:
    """The residual stream before each of some layers."""
    # Tokens that are not contiguous break TransformerLens' MLP.
    state, states = model(tokens.contiguous(), stop_at_layer=0), {}
    for layer in range(max(layers) + 1):
        if layer in layers:
            states[layer] = state
        if layer < max(layers):
            state = model(state, start_at_layer=layer, stop_at_layer=layer + 1)
    return states


def _is_causal(snapshot: Snapshot) -> bool:
    return snapshot.config.attention_dir == "causal"


def _is_masked(snapshot: Snapshot) -> bool:
    """Whether a pass must hold the whole sentence."""
    return _positions(snapshot) == "rotary" or any(edit.hook_names for edit in snapshot.edits)


def _positions(snapshot: Snapshot) -> str:
    """How the model tells positions apart; kinds that have no such option say so in the model."""
    return getattr(snapshot.live.model.cfg, "positional_embedding_type", "standard")


def _check(snapshot: Snapshot, thresholds: Sequence[int]) -> None:
    n_layers = snapshot.config.n_layers
    for threshold in thresholds:
        if not 0 <= threshold < n_layers:
            raise ValueError(
                f"threshold {threshold}: this model has the layers 0 to {n_layers - 1}, and with "
                "none of them cut every span is as in its sentence; give one of them"
            )
    if _positions(snapshot) == "shortformer":
        raise ValueError(
            "queries and keys of a shortformer model read positions beside the stream, and a pass "
            "that starts at a layer has none: take a model with other positions"
        )
    if not _is_causal(snapshot) and len(snapshot.examples.visible.sum(1).unique()) > 1:
        raise ValueError(
            "a bidirectional model's sentences must have one length: take hooks.spans.span_batches"
        )
