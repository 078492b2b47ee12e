"""A transformer as a graph: who writes to the residual stream, who reads it, what edges do.

Writers are the embedding (tokens and positions together), every head (z W_O, without b_O) and every
MLP; readers are queries, keys and values of every head, every MLP, each before its layer norm, and
the logits. Corrupting an edge u -> v adds to what v reads, and to nothing else,

    out_u(corrupted) - out_u(live)

where the live output is that of the running pass, so that several edges can be corrupted together.
An edge's score is the metric with it corrupted minus the metric of the clean run: negative where
the edge helps.

Source: Goldowsky-Dill et al. 2023 (arXiv:2304.05969), path patching; Syed et al. 2023
(arXiv:2310.10348), edge attribution patching; Hanna et al. 2024 (arXiv:2403.17806), its integrated
gradients, of which theirs are taken at t = 0, 1/S, .., (S-1)/S and ours at midpoints.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooks.circuits.pairs import Pairs
from hooks.edit import Edit
from hooks.models import ModelConfig
from hooks.models.transformer import TransformerConfig
from hooks.snapshot import TOKENS_PER_BATCH, Snapshot

EMBED, LOGITS = "embed", "logits"
EMBEDDED = "blocks.0.hook_resid_pre"  # tokens and positions, where the first block reads them
QKV = ("q", "k", "v")


@dataclass(frozen=True)
class Graph:
    """Writers, readers and the edges between them.

    Attributes:
        n_layers: Blocks.
        n_heads: Heads of each.
        has_mlp: Whether each has an MLP.
    """

    n_layers: int
    n_heads: int
    has_mlp: bool

    @cached_property
    def writers(self) -> tuple[str, ...]:
        """`embed`, then layer by layer its heads (`0.h2`) and its MLP (`0.mlp`)."""
        return (EMBED, *(name for layer in range(self.n_layers) for name in self._layer(layer)))

    @cached_property
    def readers(self) -> tuple[str, ...]:
        """Layer by layer queries, keys, values of its heads (`0.h2.q`), its MLP; then `logits`."""
        inputs = [
            name
            for layer in range(self.n_layers)
            for name in (
                *(f"{layer}.h{head}.{part}" for part in QKV for head in range(self.n_heads)),
                *([f"{layer}.mlp"] if self.has_mlp else []),
            )
        ]
        return (*inputs, LOGITS)

    @cached_property
    def exists(self) -> Bool[Tensor, "reader writer"]:
        """True where an edge is: the writer comes before the reader."""
        order = {writer: _time(writer, is_reader=False) for writer in self.writers}
        return torch.tensor(
            [
                [order[writer] < _time(reader, is_reader=True) for writer in self.writers]
                for reader in self.readers
            ]
        )

    @cached_property
    def edges(self) -> tuple[str, ...]:
        """Edges as `0.h2->0.mlp`: reader by reader, each with its writers in order."""
        return tuple(
            f"{self.writers[writer]}->{self.readers[reader]}"
            for reader, writer in self.exists.nonzero().tolist()
        )

    def mask(self, edges: Bool[Tensor, " edge"]) -> Bool[Tensor, "reader writer"]:
        """Chosen edges as a table."""
        table = torch.zeros_like(self.exists)
        table[self.exists] = edges
        return table

    def _layer(self, layer: int) -> list[str]:
        heads = [f"{layer}.h{head}" for head in range(self.n_heads)]
        return heads + ([f"{layer}.mlp"] if self.has_mlp else [])


def _time(name: str, *, is_reader: bool) -> float:
    """When a part reads or writes in a pass: attention reads at 2 l, an MLP at 2 l + 1."""
    if name in (EMBED, LOGITS):
        return -1 if name == EMBED else torch.inf
    layer, part = name.split(".")[:2]
    return 2 * int(layer) + (part == "mlp") + (0 if is_reader else 0.5)


def why_no_graph(config: ModelConfig) -> str:
    """Why the stream of a model is no sum of what its parts write; empty if it is one."""
    if not isinstance(config, TransformerConfig):
        return "only a hooks.HookedTransformer has a residual stream of named parts"
    options = config.model_dump() | dict(config.FIXED)
    for name, wanted, why in (
        ("norm_position", "pre", "its stream is normalised, and no sum of what parts write"),
        ("parallel_attn_mlp", False, "attention and MLP of a block read the same stream"),
        ("n_key_value_heads", None, "heads share keys and values"),
    ):
        if options.get(name, wanted) != wanted:
            return f"edges are not defined with {name} = {options[name]}: {why}"
    return ""


def graph_of(snapshot: Snapshot) -> Graph:
    """The graph of a transformer whose stream is the sum of what its parts write.

    Raises:
        ValueError: It is no such model: post-norm, parallel, with shared keys and values, or no
            transformer.
    """
    if why := why_no_graph(snapshot.config):
        raise ValueError(why)
    cfg = snapshot.live.model.cfg
    return Graph(cfg.n_layers, cfg.n_heads, not cfg.attn_only)


@dataclass(eq=False)
class EdgeRuns:
    """Runs of a model on pairs with some edges corrupted.

    The corrupted inputs are run once, when this is made.

    Attributes:
        snapshot: The model; its examples do not matter.
        pairs: The inputs.
        metric: What is measured (`hooks.circuits.pairs`).
        graph: The model's edges.
    """

    snapshot: Snapshot
    pairs: Pairs
    metric: str = "logit_difference"
    graph: Graph = field(init=False)

    def __post_init__(self) -> None:
        self.graph = graph_of(self.snapshot)
        layers = range(self.graph.n_layers)
        self._W_O = [self.snapshot.weights(f"blocks.{layer}.attn.W_O") for layer in layers]
        outputs = [name for layer in layers for name in self._outputs(layer)]
        self.on_clean, on_corrupted = map(
            self.snapshot.on, (self.pairs.clean, self.pairs.corrupted)
        )
        with _split_inputs(self.snapshot):  # as in all other runs: effects of nothing are exactly 0
            self._corrupted = on_corrupted.cache([EMBEDDED, *outputs])
            clean, corrupted = self.on_clean.logits(), on_corrupted.logits()
        self._clean_answers = self.pairs.answers(clean)
        self.clean = self._values(self._clean_answers)
        self.corrupted = self._values(self.pairs.answers(corrupted))

    def _outputs(self, layer: int) -> list[str]:
        """Hook points of what heads and MLP of a layer write."""
        mlp = [f"blocks.{layer}.hook_mlp_out"] if self.graph.has_mlp else []
        return [f"blocks.{layer}.attn.hook_z", *mlp]

    def _values(self, answers: Tensor, metric: str | None = None) -> Float[Tensor, " pair"]:
        return self.pairs.values(metric or self.metric, answers, self._clean_answers)

    def with_corrupted(
        self, sets: Bool[Tensor, "set edge"], *metrics: str
    ) -> Float[Tensor, "metric set pair"]:
        """Metrics of every pair, run on clean inputs with the edges of each set corrupted.

        Args:
            sets: True at edges that are corrupted together.
            metrics: What is measured; by default the metric of these runs alone.
        """
        names = metrics or (self.metric,)
        mask = torch.zeros_like(self.graph.exists)  # of the set at hand; the hooks read it
        edit = Edit(row_hooks=self._row_hooks(mask), n_examples=len(self.pairs))
        snapshot, device = self.on_clean.edited(edit), self.snapshot.live.device
        values = []
        with _split_inputs(self.snapshot), snapshot.running() as model, torch.no_grad():
            for chosen in sets:
                mask.copy_(self.graph.mask(chosen))
                answers = []
                for rows, pairs in self._batches:
                    with snapshot.seeing(rows):
                        logits = model(pairs.clean.model_inputs.to(device))
                    answers.append(pairs.answers(logits).cpu())
                values += [self._values(torch.cat(answers), name) for name in names]
        return torch.stack(values).unflatten(0, (len(sets), len(names))).transpose(0, 1)

    def exact_scores(self) -> Float[Tensor, "edge pair"]:
        """Each edge corrupted alone, less the clean run: one pass an edge."""
        (alone,) = self.with_corrupted(torch.eye(len(self.graph.edges), dtype=torch.bool))
        return alone - self.clean

    @cached_property
    def _batches(self) -> list[tuple[Int[Tensor, " row"], Pairs]]:
        """Pairs that are run together, with their numbers."""
        size = max(1, TOKENS_PER_BATCH // self.pairs.clean.model_inputs.shape[1])
        return [(rows, self.pairs.at(rows)) for rows in torch.arange(len(self.pairs)).split(size)]

    def attribution(self, steps: int = 0) -> Float[Tensor, " edge"]:
        """Scores by gradients, all edges in one backward pass: the mean over pairs.

        (out_u(corrupted) - out_u(clean)) . dm/d(input of v), summed over positions.

        Args:
            steps: Points at which the gradient is taken, between the corrupted embedding and the
                clean one (EAP-IG); 0 for the clean run alone (EAP).

        Raises:
            ValueError: The metric is kl, whose gradient at the clean run is 0, and steps is 0.
        """
        if self.metric == "kl" and not steps:
            raise ValueError(
                "kl has no gradient at the clean run, where it is smallest: take steps = 5 or more"
            )
        points = [(point + 0.5) / steps for point in range(steps)] or [1.0]
        total = torch.zeros(len(self.graph.edges), dtype=torch.float64)
        for rows, _ in self._batches:
            deltas = self._deltas(rows)
            for point in points:
                total += self._products(deltas, self._gradients(rows, point)) / len(points)
        return total / len(self.pairs)

    def _deltas(self, rows: Int[Tensor, " row"]) -> Float[Tensor, "writer row pos d_model"]:
        """What each writer writes on corrupted inputs, less what it writes on clean ones."""
        clean = self.on_clean.cache([*self._corrupted])
        change = {name: self._corrupted[name][rows] - clean[name][rows] for name in clean}
        return torch.stack([*self._written(change)])

    def _written(self, change: dict[str, Tensor]) -> Iterator[Tensor]:
        """Changes of activations as changes of the stream, by writer, as far as a pass has come."""
        yield change[EMBEDDED]
        for layer in range(self.graph.n_layers):
            z = change.get(f"blocks.{layer}.attn.hook_z")
            if z is not None:
                W_O = self._W_O[layer].to(z)
                yield from einsum(z, W_O, "row pos head h, head h d -> head row pos d")
            if f"blocks.{layer}.hook_mlp_out" in change:
                yield change[f"blocks.{layer}.hook_mlp_out"]

    def _row_hooks(self, mask: Bool[Tensor, "reader writer"]) -> dict[str, Any]:
        """Hooks that note what is written in the running pass, and change what is read."""
        change: dict[str, Tensor] = {}  # what writers would write on the corrupted input, less live

        def note(activation: Tensor, hook: Any, rows: Tensor) -> None:
            if hook.name == EMBEDDED:
                change.clear()  # of the batch before
            change[hook.name] = self._corrupted[hook.name][rows.cpu()].to(activation) - activation

        def read(activation: Tensor, hook: Any, rows: Tensor) -> Tensor | None:
            readers = mask[self._places[hook.name]]  # of a head's point one a head
            if not readers.any():
                return None
            written = torch.stack([*self._written(change)])
            chosen = readers[:, : len(written)].to(written)
            added = einsum(chosen, written, "reader writer, writer row pos d -> row pos reader d")
            return activation + (added if activation.ndim == 4 else added[:, :, 0])

        noting = {name: note for name in self._corrupted}
        return noting | {name: read for name in self._places}

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        """The rows of a table of edges that each hook point of readers stands for."""
        rows = {reader: place for place, reader in enumerate(self.graph.readers)}
        heads = range(self.graph.n_heads)
        last = self.graph.n_layers - 1
        return {
            **{
                f"blocks.{layer}.hook_{part}_input": [rows[f"{layer}.h{h}.{part}"] for h in heads]
                for layer in range(self.graph.n_layers)
                for part in QKV
            },
            **{
                f"blocks.{layer}.hook_mlp_in": [rows[f"{layer}.mlp"]]
                for layer in range(self.graph.n_layers if self.graph.has_mlp else 0)
            },
            f"blocks.{last}.hook_resid_post": [rows[LOGITS]],
        }

    def _gradients(self, rows: Int[Tensor, " row"], point: float) -> list[Tensor]:
        """By reader: the metric's gradient by what it reads, `[row, pos, d_model]`.

        Args:
            rows: Pairs.
            point: Where the embedding is between the corrupted input (0) and the clean one (1).
        """
        leaves: dict[str, Tensor] = {}

        def move(activation: Tensor, hook: Any) -> Tensor:
            start = self._corrupted[hook.name][rows].to(activation)
            return start + point * (activation - start)

        def leaf(activation: Tensor, hook: Any) -> Tensor:
            leaves[hook.name] = torch.zeros_like(activation, requires_grad=True)
            return activation + leaves[hook.name]

        hooks = [(EMBEDDED, move), *((name, leaf) for name in self._places)]
        pairs = self.pairs.at(rows)
        with (
            _split_inputs(self.snapshot),
            self.on_clean.running() as model,
            torch.enable_grad(),
            self.on_clean.seeing(rows),
            model.hooks(fwd_hooks=hooks),
        ):
            logits = model(pairs.clean.model_inputs.to(self.snapshot.live.device))
            answers = pairs.answers(logits)
            clean = self._clean_answers[rows].to(answers)
            values = pairs.values(self.metric, answers, clean)
            gradients = torch.autograd.grad(values.sum(), list(leaves.values()))
        by_name = dict(zip(leaves, gradients, strict=True))
        by_reader: dict[int, Tensor] = {}
        for name, places in self._places.items():
            gradient = by_name[name].cpu()
            parts = gradient.unbind(2) if gradient.ndim == 4 else [gradient]
            by_reader |= dict(zip(places, parts, strict=True))
        return [by_reader[place] for place in range(len(self.graph.readers))]

    def _products(
        self, deltas: Float[Tensor, "writer row pos d_model"], gradients: Sequence[Tensor]
    ) -> Float[Tensor, " edge"]:
        table = einsum(
            deltas.double(),
            torch.stack(list(gradients)).double(),
            "writer row pos d, reader row pos d -> reader writer",
        )
        return table[self.graph.exists]


@contextmanager
def _split_inputs(snapshot: Snapshot) -> Iterator[None]:
    """Every head has copies of the stream for its queries, keys and values; undone on leaving."""
    cfg = snapshot.live.model.cfg
    before = cfg.use_split_qkv_input, cfg.use_hook_mlp_in
    cfg.use_split_qkv_input = True
    cfg.use_hook_mlp_in = not cfg.attn_only
    try:
        yield
    finally:
        cfg.use_split_qkv_input, cfg.use_hook_mlp_in = before
