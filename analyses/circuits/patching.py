"""Which activations carry the answer: those of one run put into another, place by place.

A clean and a corrupted input differ in one respect, and so do their right answers. Denoising runs
the corrupted input and inserts an activation of the clean run: what restores the answer is enough
for it. Noising runs the clean input and inserts one of the corrupted run: what spoils the answer is
needed for it. Where several parts do the same, each alone looks weak by both; the whole attention
of a layer stands beside its heads. In all runs

    effect = m(patched) - m(unpatched)

so that noising a part that helps is negative, and denoising it positive.

Source: Vig et al. 2020 (arXiv:2004.12265); Meng et al. 2022 (arXiv:2202.05262); paths to a
receiver: Wang et al. 2022 (arXiv:2211.00593), Goldowsky-Dill et al. 2023 (arXiv:2304.05969);
practice: Zhang and Nanda 2023 (arXiv:2309.16042), Heimersheim and Nanda 2024 (arXiv:2404.15255).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses import plots
from analyses.circuits.words import ERRORS, is_larger, sentence, with_error
from analyses.findings import Finding, Strength, percent
from analyses.plots.style import stroke
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, PairsResult
from hooks import Edit, Pairs, Snapshot, patched
from hooks.circuits.graph import EdgeRuns, graph_of
from hooks.circuits.pairs import MIN_SPAN, standard_error
from hooks.messages import did_you_mean

if TYPE_CHECKING:
    import pandas

RUNS = ("denoising", "noising", "control")
EVERYONE = "all"  # the group of all pairs
OF_CLEAN_RUN = ("kl", "squared_error")  # metrics that exchanged inputs would change
MIN_GROUP = 2  # pairs of which there is a standard error


@dataclass(frozen=True)
class Patch:
    """What is inserted.

    Attributes:
        kind: residual, head, attention, mlp, neuron or path.
        layer: Its layer; of the stream, how many layers have written to it.
        place: A role, a head, a neuron, or of a path the part that writes; empty for a whole part.
    """

    kind: str
    layer: int
    place: str = ""

    def __str__(self) -> str:
        if self.kind == "residual":
            return f"stream {self.layer} at {self.place}"
        if self.kind == "path":
            return f"path from {self.place}"
        return f"{self.kind} {self.layer}{'.' * bool(self.place)}{self.place}"


@dataclass(frozen=True, eq=False)
class ActivationPatching(PairsResult):
    """What patches do to the answer: of the stream by position, of heads, MLPs, neurons, paths.

    Attributes:
        metric: What is measured (`hooks.circuits.pairs`); logits or nats.
        change: What the two inputs of a pair differ in.
        receiver: The reader that paths lead to; empty without paths.
        groups: `all`, and each value of the label by which pairs were parted.
        group_sizes: How many pairs each group has.
        patches: Kind, layer and place of each patch (`Patch`).
        effects: Metric of the patched runs minus that of the unpatched ones: corrupted runs where
            denoising, clean ones where noising, and clean ones of control pairs, whose right answer
            stays. NaN without control pairs; those are in the group of all alone.
        errors: Standard errors of the effects over pairs.
        accuracy: Share of patched runs in which the right class has the largest logit; NaN of
            real-valued answers.
        clean: Metric of the clean runs.
        corrupted: Metric of the corrupted runs.
        span_errors: Standard errors of clean minus corrupted, paired.
    """

    needs: ClassVar = Needs(pairs=True, attention=True)
    by_default: ClassVar = Needs(most_layers=4)  # three runs a patch
    count: ClassVar = 1  # of examples, which do not matter
    sliding: ClassVar = ("residual", "parts")
    coordinates: ClassVar = {"run": RUNS, "patch": "names"}
    rows: ClassVar = ("patch", "run", "group")
    columns: ClassVar = {
        "effect": "effects",
        "error": "errors",
        "recovered": "recovered",
        "accuracy": "accuracy",
    }

    metric: str
    change: str
    receiver: str
    groups: tuple[str, ...]
    group_sizes: Int[np.ndarray, " group"]
    patches: tuple[tuple[str, int, str], ...]
    effects: Float[np.ndarray, "patch run group"]
    errors: Float[np.ndarray, "patch run group"]
    accuracy: Float[np.ndarray, "patch run group"]
    clean: Float[np.ndarray, " group"]
    corrupted: Float[np.ndarray, " group"]
    span_errors: Float[np.ndarray, " group"]

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        pairs: Pairs,
        control: Pairs | None = None,
        metric: str = "",
        by: str = "",
        receiver: str = "",
        neurons: bool = False,
    ) -> "ActivationPatching":
        """Measures one snapshot.

        Args:
            snapshot: A transformer.
            pairs: Inputs, each beside a corrupted one; without roles, positions go by number.
            control: The same, where the right answer stays.
            metric: By default logit_difference, or squared_error of real-valued answers.
            by: A label of the clean inputs, whose values part the pairs into groups.
            receiver: A reader (`1.h0.q`, `0.mlp`, `logits`): each part before it is patched on its
                direct path to this reader alone.
            neurons: Whether each neuron is patched too.

        Raises:
            ValueError: A group has fewer than two pairs; metric, label or receiver are unknown; or
                a receiver is given, and the model has no graph of edges or the metric is kl or
                squared_error.
        """
        metric = metric or pairs.default_metric
        if receiver and metric in OF_CLEAN_RUN:
            raise ValueError(
                f"receiver: metric {metric} is told by the clean input alone, and paths are run on "
                "exchanged inputs; take another metric"
            )
        groups = _groups(pairs, by)
        runs = _runs(snapshot, pairs, control, metric)
        patches = list(_patches(snapshot, pairs, neurons=neurons))
        values = [[run.patched(patch) for run in runs] for patch in patches]
        if receiver:
            senders = _senders(snapshot, receiver)
            of_paths = [run.along(senders, receiver) for run in runs]
            patches += senders.values()
            values += [list(of_patch) for of_patch in zip(*of_paths, strict=True)]
        effects, errors, accuracy = _by_group(values, groups, len(runs))
        clean, corrupted = runs[1].unpatched, runs[0].unpatched
        return cls(
            metric=metric,
            change=pairs.change,
            receiver=receiver,
            groups=tuple(groups),
            group_sizes=np.array([int(mask.sum()) for mask in groups.values()]),
            patches=tuple((patch.kind, patch.layer, patch.place) for patch in patches),
            effects=effects,
            errors=errors,
            accuracy=accuracy,
            clean=np.array([float(clean[mask].mean()) for mask in groups.values()]),
            corrupted=np.array([float(corrupted[mask].mean()) for mask in groups.values()]),
            span_errors=np.array(
                [float(standard_error((clean - corrupted)[mask])) for mask in groups.values()]
            ),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What each patch is, in words."""
        return tuple(str(Patch(*patch)) for patch in self.patches)

    @property
    def spans(self) -> Float[np.ndarray, " group"]:
        """Metric of the clean runs minus that of the corrupted ones."""
        return self.clean - self.corrupted

    @property
    def recovered(self) -> Float[np.ndarray, "patch run group"]:
        """(m(patched) - m(corrupted)) / span: 0 as corrupted, 1 as clean.

        NaN where the span is under three of its standard errors, and of control pairs, whose span
        is 0 by design.
        """
        has_span = (self.spans != 0) & (np.abs(self.spans) >= MIN_SPAN * self.span_errors)
        spans = np.where(has_span, self.spans, np.nan)
        shares = self.effects / spans
        shares[:, RUNS.index("noising")] += 1
        shares[:, RUNS.index("control")] = np.nan
        return shares

    def grid(
        self, kind: str, run: str = "denoising", group: str = EVERYONE
    ) -> tuple[Float[np.ndarray, "layer place"], tuple[str, ...]]:
        """Effects of one kind of patch, and the names of its places.

        Args:
            kind: residual, head, attention, mlp or neuron.
            run: denoising, noising or control.
            group: One of `groups`.

        Raises:
            ValueError: There is no such patch, run or group.
        """
        for name, value, known in (
            ("kind", kind, dict.fromkeys(patch[0] for patch in self.patches if patch[0] != "path")),
            ("run", run, RUNS),
            ("group", group, self.groups),
        ):
            if value not in known:
                raise ValueError(f"{name} '{value}' is none of {', '.join(known)}")
        chosen = [place for place, patch in enumerate(self.patches) if patch[0] == kind]
        places = tuple(dict.fromkeys(self.patches[place][2] for place in chosen))
        effects = self.effects[chosen, RUNS.index(run), self.groups.index(group)]
        return effects.reshape(-1, len(places)), places

    def to_frame(self) -> "pandas.DataFrame":
        """One row a patch, run and group: effect, error, recovered, accuracy."""
        frame = super().to_frame()
        each = len(frame) // len(self.patches)
        for place, name in enumerate(("kind", "layer", "place")):
            frame.insert(
                place + 1, name, [patch[place] for patch in self.patches for _ in range(each)]
            )
        return frame

    def summary(self) -> dict[str, float | str]:
        """The span and its error, and of the stream and of all parts the strongest in each run.

        Whole layers of attention are no part here, since they are their heads together.
        """
        summary: dict[str, float | str] = {
            "clean": float(self.clean[0]),
            "corrupted": float(self.corrupted[0]),
            "span": float(self.spans[0]),
            "span_error": float(self.span_errors[0]),
        }
        for name, run in (("denoised", 0), ("noised", 1)):
            place = self._strongest(("head", "mlp"), run)
            summary[f"{name}_part"] = self.names[place]
            summary[f"{name}_effect"] = float(self.effects[place, run, 0])
            summary[f"{name}_recovered"] = float(self.recovered[place, run, 0])
        return summary | {"largest_control": self._largest_control(("head", "mlp"))}

    def _strongest(self, kinds: Sequence[str], run: int) -> int:
        """The patch of some kinds with the largest effect on all pairs."""
        places = [place for place, patch in enumerate(self.patches) if patch[0] in kinds]
        return max(places, key=lambda place: abs(self.effects[place, run, 0]))

    def _largest_control(self, kinds: Sequence[str]) -> float:
        places = [place for place, patch in enumerate(self.patches) if patch[0] in kinds]
        return float(np.abs(self.effects[places, RUNS.index("control"), 0]).max())

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """The parts whose patches move the answer most, needed (noising) and enough (denoising).

        A needed part is found where its effect is larger, by three standard errors, than on control
        pairs, whose answer stays; an enough one where it is larger than at step 0, or than nothing
        where that is not known. There is nothing to find where the span is under three of its
        errors, or has the sign of wrong answers.
        """
        span = with_error(float(self.spans[0]), float(self.span_errors[0]))
        has_span = bool(np.isfinite(self.recovered[:, :2, 0]).all())
        if not has_span or (self.spans[0] < 0 and self.metric not in OF_CLEAN_RUN):
            why = "the wrong way round" if has_span else f"under {ERRORS} standard errors"
            text = (
                f"A change of {self.change} moves the {plots.words(self.metric)} by {span}: {why}"
            )
            return (Finding(f"{text}, so no patch tells anything", "not found", "parts"),)
        is_same = isinstance(untrained, ActivationPatching) and untrained.patches == self.patches
        of_first = untrained if is_same else None
        needed, enough = (self._strongest(("head", "mlp"), run) for run in (1, 0))
        return (
            self._moved(needed, "noising", self, "control", "on control pairs"),
            self._moved(enough, "denoising", of_first, "denoising", "at step 0"),
        )

    def _moved(
        self, place: int, run: str, of: BaseResult | None, control: str, where: str
    ) -> Finding:
        """What a patch does in runs of one kind, beside the same patch in those of a control."""
        at = (place, RUNS.index(run), 0)
        effect, error, level, level_error = self.effects[at], self.errors[at], 0.0, 0.0
        beside = ""
        if isinstance(of, ActivationPatching):
            level, level_error = (
                table[place, RUNS.index(control), 0] for table in (of.effects, of.errors)
            )
            beside = "" if np.isnan(level) else f" ({where} {level:+.2g})"
        source, target, sign = ("clean", "corrupted", 1)
        if run == "noising":
            source, target, sign = ("corrupted", "clean", -1)
        name, span = self.names[place].replace("mlp", "MLP"), float(self.spans[0])
        text = f"{sentence(name)} from {source} inputs moves {target} runs' "
        text += f"{plots.words(self.metric)} by {with_error(effect, error, '+')}, "
        text += f"{percent(sign * effect / span)} of the span "
        text += f"{with_error(span, float(self.span_errors[0]))}{beside}"
        level = abs(np.nan_to_num(level))
        is_found = is_larger(abs(effect), level, error, level_error)
        strength: Strength = "found" if is_found else "null" if level else "not found"
        return Finding(text, strength, "parts")

    def figures(self) -> Mapping[str, Drawing]:
        """The stream by position and layer, and the parts, each in both directions and control."""
        figures = {"residual": self._streams(), "parts": self._bars(("head", "attention", "mlp"))}
        kinds = {patch[0] for patch in self.patches}
        if "path" in kinds:
            figures["paths"] = self._bars(("path",))
        if "neuron" in kinds:
            figures["neurons"] = self._neurons()
        return figures

    def _found(self, kinds: Sequence[str]) -> str:
        """The strongest patches of some kinds, beside span and control."""
        strongest = [self._strongest(kinds, run) for run in (0, 1)]
        denoised, noised = (
            f"{self.effects[place, run, 0]:+.3g} {name}"
            for run, (place, name) in enumerate(zip(strongest, ("denoised", "noised"), strict=True))
        )
        first, second = (self.names[place] for place in strongest)
        control = self.effects[strongest[1], RUNS.index("control"), 0]
        beside = "" if np.isnan(control) else f", control pairs {control:+.2g}"
        return (
            f"{first}: {denoised}, {'' if first == second else f'{second}: '}{noised} "
            f"(span {self.spans[0]:.3g} ± {self.span_errors[0]:.2g}{beside})"
        )

    @property
    def _shown(self) -> list[str]:
        """Runs that are drawn: those of control pairs where there are any."""
        return [run for place, run in enumerate(RUNS) if np.isfinite(self.effects[:, place]).any()]

    def _streams(self) -> Drawing:
        parted = [name for name in self.groups if name != EVERYONE] or [EVERYONE]
        blocks = []
        for group in parted:
            of_runs = {run: group if run != "control" else EVERYONE for run in self._shown}
            blocks.append(
                np.hstack([self.grid("residual", *of_run)[0] for of_run in of_runs.items()])
            )
        _, roles = self.grid("residual")
        columns = [f"{run}: {role}" for run in self._shown for role in roles]
        rows = [
            f"{'' if group == EVERYONE else f'{group}, '}{depth}"
            for group, block in zip(parted, blocks, strict=True)
            for depth in range(len(block))
        ]
        largest = float(np.nanmax(np.abs(blocks)))
        return plots.heatmap(
            np.vstack(blocks),
            title=self._found(("residual",)),
            axes=("run: position", "layers that have written"),
            unit=f"effect on {plots.words(self.metric)} (patched - unpatched)",
            limits=(-largest, largest),
            ticks=(columns, rows),
        )

    def _bars(self, kinds: Sequence[str]) -> Drawing:
        places = [place for place, patch in enumerate(self.patches) if patch[0] in kinds]
        found = kinds if "path" in kinds else ("head", "mlp")
        to = f", into {self.receiver} alone" if "path" in kinds else ""
        return plots.bars(
            [self.names[place] for place in places],
            {run: self.effects[places, RUNS.index(run), 0] for run in self._shown},
            title=f"{self._found(found)}{to}",
            axes=("part", f"effect on {plots.words(self.metric)} (patched - unpatched)"),
        )

    def _neurons(self) -> Drawing:
        panels = {}
        for run in self._shown:
            effects, _ = self.grid("neuron", run)
            order = np.sort(np.abs(effects), axis=1)[:, ::-1]
            ranks = np.arange(1, order.shape[1] + 1)
            panels[run] = [
                plots.line(ranks, sizes, f"layer {layer}", stroke(layer, 2))
                for layer, sizes in enumerate(order)
            ]
        return plots.multiples(
            panels,
            title=self._found(("neuron",)),
            axes=("neuron, by size of its effect", f"|effect| on {plots.words(self.metric)}"),
        )


@dataclass(frozen=True, eq=False)
class _Run:
    """Runs of one kind on some pairs: on a target's inputs, with activations of a source.

    Attributes:
        target: The snapshot that is patched.
        source: Where activations come from.
        pairs: Whose answers are judged.
        swapped: Whether the target is the corrupted input.
        metric: What is measured.
    """

    target: Snapshot
    source: Snapshot
    pairs: Pairs
    swapped: bool
    metric: str

    @cached_property
    def unpatched(self) -> Float[Tensor, " pair"]:
        """The metric without a patch."""
        return self._values(self.target)[0]

    def patched(self, patch: Patch) -> tuple[Tensor, Tensor]:
        """The effect of a patch on each pair, and whether the patched run is right."""
        values, is_right = self._values(self.target.edited(_edit(patch, self.source, self.pairs)))
        return values - self.unpatched, is_right

    def along(self, senders: Mapping[str, Patch], receiver: str) -> Iterator[tuple[Tensor, Tensor]]:
        """The same for each part that writes, patched on its path to a receiver alone."""
        runs = EdgeRuns(
            self.target, self.pairs.swapped if self.swapped else self.pairs, self.metric
        )
        sets = torch.tensor([[e == f"{s}->{receiver}" for e in runs.graph.edges] for s in senders])
        values, is_right = runs.with_corrupted(sets, self.metric, "accuracy")
        return zip(values - runs.clean, is_right, strict=True)

    def _values(self, snapshot: Snapshot) -> tuple[Tensor, Tensor]:
        answers = self.pairs.answers(snapshot.logits()).cpu()
        clean = self._clean_answers if self.metric == "kl" else None
        values = self.pairs.values(self.metric, answers, clean)
        if self.pairs.right is None:
            return values, torch.full_like(values, torch.nan)
        return values, self.pairs.values("accuracy", answers)

    @cached_property
    def _clean_answers(self) -> Tensor:
        clean = self.source if self.swapped else self.target
        return self.pairs.answers(clean.logits()).cpu()


def _runs(snapshot: Snapshot, pairs: Pairs, control: Pairs | None, metric: str) -> list[_Run]:
    """Denoising and noising, and noising of control pairs where there are any."""
    clean, corrupted = map(snapshot.on, (pairs.clean, pairs.corrupted))
    runs = [
        _Run(corrupted, clean, pairs, swapped=True, metric=metric),
        _Run(clean, corrupted, pairs, swapped=False, metric=metric),
    ]
    if control is not None:
        clean, corrupted = map(snapshot.on, (control.clean, control.corrupted))
        runs.append(_Run(clean, corrupted, control, swapped=False, metric=metric))
    return runs


def _roles(pairs: Pairs) -> Mapping[str, Int[Tensor, " pair"]]:
    """The positions that have names, or else all by their numbers."""
    count, n_pos = pairs.clean.model_inputs.shape[:2]
    return pairs.roles or {str(pos): torch.full((count,), pos) for pos in range(n_pos)}


def _patches(snapshot: Snapshot, pairs: Pairs, *, neurons: bool) -> Iterator[Patch]:
    """All patches but paths: the stream, then layer by layer heads, attention, MLP, neurons."""
    config = snapshot.config
    n_heads = getattr(config, "n_heads")  # noqa: B009  # all kinds with attention have it
    for depth in range(config.n_layers + 1):
        for role in _roles(pairs):
            yield Patch("residual", depth, role)
    for layer in range(config.n_layers):
        for head in range(n_heads):
            yield Patch("head", layer, str(head))
        yield Patch("attention", layer)
        if getattr(config, "attn_only", False):
            continue
        yield Patch("mlp", layer)
        if neurons:
            d_mlp = snapshot.weights(f"blocks.{layer}.mlp.W_out").shape[0]
            yield from (Patch("neuron", layer, str(neuron)) for neuron in range(d_mlp))


def _edit(patch: Patch, source: Snapshot, pairs: Pairs) -> Edit:
    """The edit that a patch is."""
    block = f"blocks.{patch.layer}"
    if patch.kind == "residual":
        depth = patch.layer
        name = f"blocks.{depth - 1}.hook_resid_post" if depth else "blocks.0.hook_resid_pre"
        return patched(source, name, positions=_roles(pairs)[patch.place])
    if patch.kind == "head":
        return patched(source, f"{block}.attn.hook_z", heads=[int(patch.place)])
    if patch.kind == "neuron":
        return patched(source, f"{block}.mlp.hook_post", neurons=[int(patch.place)])
    return patched(source, f"{block}.hook_{'attn' if patch.kind == 'attention' else 'mlp'}_out")


def _senders(snapshot: Snapshot, receiver: str) -> dict[str, Patch]:
    """The parts that write before a receiver reads.

    Raises:
        ValueError: The model has no graph of edges, or no such reader.
    """
    graph = graph_of(snapshot)
    if receiver not in graph.readers:
        raise ValueError(
            f"receiver '{receiver}' reads nothing; there are {', '.join(graph.readers)}"
            f"{did_you_mean(receiver, graph.readers)}"
        )
    row = graph.exists[graph.readers.index(receiver)]
    writers = [writer for writer, reads in zip(graph.writers, row, strict=True) if reads]
    return {
        writer: Patch("path", int(writer.split(".")[0]) if "." in writer else 0, writer)
        for writer in writers
    }


def _groups(pairs: Pairs, by: str) -> dict[str, Bool[Tensor, " pair"]]:
    """The pairs of each group, those of all first.

    Raises:
        ValueError: There is no such label of one value an example, or a group has too few pairs.
    """
    groups = {EVERYONE: torch.ones(len(pairs), dtype=torch.bool)}
    if by:
        label = pairs.clean.label(by)
        if label.ndim != 1:
            raise ValueError(f"by: '{by}' has a value for each position; take one for each example")
        groups |= {f"{by} {value}": label == value for value in label.unique().tolist()}
    for name, mask in groups.items():
        if int(mask.sum()) < MIN_GROUP:
            raise ValueError(
                f"pairs: the group {name} has {int(mask.sum())}; a standard error takes two"
            )
    return groups


def _by_group(
    values: Sequence[Sequence[tuple[Tensor, Tensor]]],
    groups: Mapping[str, Bool[Tensor, " pair"]],
    n_runs: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effects, their errors and accuracy, by patch, run and group; NaN where there is none."""
    shape = (len(values), len(RUNS), len(groups))
    effects, errors, accuracy = (np.full(shape, np.nan) for _ in range(3))
    for patch, of_patch in enumerate(values):
        for run in range(n_runs):
            effect, is_right = of_patch[run]
            for group, mask in enumerate(groups.values()):
                if run == RUNS.index("control") and group:
                    continue
                chosen = slice(None) if not group else mask
                effects[patch, run, group] = effect[chosen].mean()
                errors[patch, run, group] = standard_error(effect[chosen])
                accuracy[patch, run, group] = is_right[chosen].mean()
    return effects, errors, accuracy
