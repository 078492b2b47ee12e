"""By how much does the model get worse without a head, or without the MLP of a layer?

    effect = m(ablated) - m(whole)        m: loss, or accuracy, over the scored positions

so that a loss that rises is positive and an accuracy that falls negative. A part is replaced at all
positions at once, in four ways that need not agree (`analyses.circuits.stand_ins`): zero takes away
what is constant too, a mean only what differs between examples, and resampling puts in what is
right for another example.

Source: Wang et al. 2022 (arXiv:2211.00593), section 2.1 and appendix B, on zero and mean ablation;
Heimersheim and Nanda 2024 (arXiv:2404.15255), section 2, on what resampling adds.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from analyses.circuits.scored import changes, scored_logits, scores_of
from analyses.circuits.stand_ins import KINDS, Givers, Part, StandIns
from analyses.circuits.words import in_words, is_larger, number, with_error
from analyses.findings import Finding
from analyses.plots.figures import Figure
from analyses.plots.panels import Panel, dots, grid, ticks, whiskers
from analyses.plots.style import MARK, PALETTE, line
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Result
from hooks import Edit, Snapshot
from hooks.circuits.last_block import LastBlock, has_last_block

SPREAD = 0.6  # share of a part's room that its kinds of ablation take side by side
NOTHING, GUESSING = ({"color": MARK, "width": 1, "dash": dash} for dash in ("solid", "dot"))
Rerun = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class HeadAblation(Result):
    """How loss and accuracy change when a head, or the MLP of a layer, is ablated in four ways.

    A row of the table is a kind of ablation and a part. Effects are m(ablated) - m(whole).

    Attributes:
        parts: Heads and MLPs: `0.h2`, `0.mlp`.
        loss: Of the whole model, in nats a scored position; mean squared error where answers are
            real numbers.
        accuracy: Of the whole model; NaN where answers are real numbers.
        chance: Accuracy of guessing; NaN where it is not known.
        loss_increase: Loss without the part minus loss.
        loss_error: Its standard error over examples, each compared with itself.
        accuracy_change: Accuracy without the part minus accuracy.
        accuracy_error: Its standard error.
        first_loss_increase: The loss increase at the run's first step; NaN where that is not known.
        first_accuracy_change: The accuracy change there.
        scored_on: Which examples are scored: all, train or test.
        means_of: Of which examples means are taken: those scored, or all.
        examples: How many are scored.
        unit: What the loss is in.
    """

    needs: ClassVar = Needs(attention=True)
    by_default: ClassVar = Needs(labels=("train",))  # elsewhere sequences are long, and passes dear
    reference: ClassVar = "first"
    count: ClassVar = 1024
    sliding: ClassVar = ("heads", "mlps")
    coordinates: ClassVar = {"kind": KINDS, "part": "parts"}
    rows: ClassVar = ("kind", "part")
    columns: ClassVar = {
        "loss_increase": "loss_increase",
        "loss_error": "loss_error",
        "accuracy_change": "accuracy_change",
        "accuracy_error": "accuracy_error",
    }

    parts: tuple[str, ...]
    loss: float
    accuracy: float
    chance: float
    loss_increase: Float[np.ndarray, "kind part"]
    loss_error: Float[np.ndarray, "kind part"]
    accuracy_change: Float[np.ndarray, "kind part"]
    accuracy_error: Float[np.ndarray, "kind part"]
    first_loss_increase: Float[np.ndarray, "kind part"]
    first_accuracy_change: Float[np.ndarray, "kind part"]
    scored_on: str
    means_of: str
    examples: int
    unit: str

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "HeadAblation | None" = None,
        scored_on: Part = "all",
        means_of: Givers = "scored",
        seed: int = 0,
    ) -> "HeadAblation":
        """Measures one snapshot: four passes a head and an MLP; of the last layer they are cheap.

        Args:
            snapshot: A transformer.
            reference: The first snapshot's result with the same options, as a control; a snapshot
                of step 0 is its own.
            scored_on: Examples that are scored: all, or, by the label `train`, train or test.
            means_of: Examples of which means are taken: the scored ones, or all of the snapshot's.
                Resampled activations are always those of scored examples.
            seed: Of the permutation that resamples.

        Raises:
            ValueError: An option does not fit, no position is scored, logits are not finite, or
                `reference` is of another model.
        """
        stand_ins = StandIns.of(snapshot, scored_on, means_of, seed)
        examples, scored = stand_ins.scored.examples, stand_ins.scored
        whole = scores_of(scored_logits(scored), examples)
        table = {
            (kind, part): change
            for layer in range(snapshot.config.n_layers)
            for kind, part, change in _changes(stand_ins, layer)
        }
        parts = tuple(dict.fromkeys(part for _, part in table))
        if reference is not None and reference.parts != parts:
            raise ValueError("reference: it is of a model with other heads; take the same run's")
        effects = np.array([[table[kind, part] for part in parts] for kind in KINDS])
        first = effects if snapshot.step == 0 else np.full_like(effects, math.nan)
        chance = examples.facts.chance
        return cls(
            parts=parts,
            loss=float(whole.losses.mean()),
            accuracy=float(whole.is_right.mean()),
            chance=math.nan if chance is None else float(chance),
            loss_increase=effects[..., 0],
            loss_error=effects[..., 1],
            accuracy_change=effects[..., 2],
            accuracy_error=effects[..., 3],
            first_loss_increase=reference.loss_increase if reference else first[..., 0],
            first_accuracy_change=(reference.accuracy_change if reference else first[..., 2]),
            scored_on=scored_on,
            means_of=means_of,
            examples=len(examples),
            unit="squared error" if examples.targets.is_floating_point() else "nats",
        )

    def of(self, is_mlp: bool) -> list[int]:
        """Places in `parts` of the MLPs, or of the heads."""
        return [place for place, part in enumerate(self.parts) if part.endswith("mlp") == is_mlp]

    def worst(self, kind: str, *, is_mlp: bool = False) -> tuple[str, float]:
        """The part whose ablation raises the loss most, and by how much; nothing where is none.

        Args:
            kind: Of ablation.
            is_mlp: Whether MLPs are looked at, and not heads.
        """
        increases = self.loss_increase[KINDS.index(kind)]
        places = self.of(is_mlp)
        if not places:
            return "", math.nan
        place = max(places, key=lambda place: increases[place])
        return self.parts[place], float(increases[place])

    def summary(self) -> dict[str, float | str]:
        """Loss and accuracy of the whole, and by kind the worst head and the worst MLP.

        NaN where there are no MLPs, or no accuracy.
        """
        heads = {kind: self.worst(kind) for kind in KINDS}
        mlps = {kind: self.worst(kind, is_mlp=True)[1] for kind in KINDS}
        return {
            "loss": self.loss,
            "accuracy": self.accuracy,
            **{
                f"worst_head_loss_increase_{kind}": increase
                for kind, (_, increase) in heads.items()
            },
            **{f"worst_mlp_loss_increase_{kind}": increase for kind, increase in mlps.items()},
            **{f"worst_head_{kind}": head for kind, (head, _) in heads.items()},
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """What the head, and the MLP, that matters most in every way of ablation costs.

        The part is the one whose smallest rise of loss over the kinds of ablation is largest. It is
        found where that rise exceeds all of the first step's by three standard errors; no part
        matters alone where no rise of any kind exceeds 0 by that.
        """
        first = self.first_loss_increase
        if isinstance(untrained, HeadAblation) and untrained.parts == self.parts:
            first = untrained.loss_increase
        rises = Rises(KINDS, self.loss_increase, self.loss_error, first, self.unit)
        found = [
            rises.finding({place: in_words(self.parts[place]) for place in places}, what)
            for what, places in (("head", self.of(is_mlp=False)), ("MLP", self.of(is_mlp=True)))
            if places
        ]
        return tuple(sorted(found, key=lambda finding: finding.strength != "found"))

    def figures(self) -> Mapping[str, Drawing]:
        """Effects on loss and accuracy of each head, and of each MLP where there are any."""
        drawn = {"heads": self._effects("head", self.of(is_mlp=False))}
        mlps = self.of(is_mlp=True)
        return drawn | ({"mlps": self._effects("MLP", mlps)} if mlps else {})

    def _effects(self, what: str, places: Sequence[int]) -> Figure:
        worst = {kind: self.worst(kind, is_mlp=what == "MLP") for kind in KINDS}
        kinds = sorted(KINDS, key=lambda kind: worst[kind][1])
        low, high = (
            f"{worst[k][1]:.2g} ({_words(k)}, {worst[k][0]})" for k in kinds[:: len(kinds) - 1]
        )
        first = np.abs(self.first_loss_increase[:, places])
        beside = "" if np.isnan(first).all() else f"; at the first step by {first.max():.2g}"
        panels = [
            Panel(
                "",
                f"loss ({self.unit}),<br>ablated - whole",
                _marks(self.loss_increase, self.loss_error, self.first_loss_increase, places),
            )
        ]
        if not math.isnan(self.accuracy):
            traces = _marks(
                self.accuracy_change, self.accuracy_error, self.first_accuracy_change, places
            )
            if not math.isnan(self.chance):
                guess = np.full(2, self.chance - self.accuracy)
                traces.append(line(_ends(places), guess, "accuracy of guessing", GUESSING))
            panels.append(Panel("", "accuracy,<br>ablated - whole", traces))
        return grid(
            panels,
            title=f"Without one {what}, loss rises by at most {low} to {high}{beside}",
            across=f"{what} ablated",
            columns=1,
            xaxis=ticks([self.parts[place] for place in places]),
        )


@dataclass(frozen=True, eq=False)
class Rises:
    """How much the loss rises without a part, in each of several ways of ablation.

    Attributes:
        kinds: Ways of ablation.
        rises: Loss without a part minus loss.
        errors: Standard errors of the rises.
        first: The rises at the first step; NaN where they are not known.
        unit: What the loss is in.
    """

    kinds: tuple[str, ...]
    rises: Float[np.ndarray, "kind part"]
    errors: Float[np.ndarray, "kind part"]
    first: Float[np.ndarray, "kind part"]
    unit: str

    def finding(self, names: Mapping[int, str], what: str) -> Finding:
        """What it costs to be without the part that matters most in every way of ablation.

        Args:
            names: Places of the parts that are looked at, and what a sentence calls them.
            what: What they are: head, MLP, neuron.
        """
        places = list(names)
        rises, errors, first = (
            values[:, places] for values in (self.rises, self.errors, self.first)
        )
        control, slug = max(0.0, float(np.nan_to_num(first.max()))), f"{what.lower()}s"
        is_told = not (np.isnan(first).any() or np.array_equal(first, rises))
        beside = f"; at the first step by at most {control:.2g}" if is_told else ""
        if not any(map(is_larger, rises.flat, np.zeros(rises.size), errors.flat)):
            most = f"{max(0, rises.max()):.2g} {self.unit}{beside}"
            text = f"No {what} matters alone: without one, loss rises by at most {most}"
            return Finding(text, "not found", slug)
        part = int(rises.min(0).argmax())
        order = rises[:, part].argsort()
        (low, high), error = rises[order[[0, -1]], part], errors[order[0], part]
        least, most = (_words(self.kinds[place]) for place in order[[0, -1]])
        text = f"Without {names[places[part]]}, loss rises by {with_error(low, error)} ({least}) "
        text += f"to {number(high)} {self.unit} ({most}){beside}"
        return Finding(text, "found" if is_larger(low, control, error) else "null", slug)


def _changes(stand_ins: StandIns, layer: int) -> Iterator[tuple[str, str, list[float]]]:
    """Kind, part, and the changes of loss and accuracy, each with its standard error."""
    examples = stand_ins.scored.examples
    here = stand_ins.scored.on(examples)  # what it remembers goes with it
    names = list(_hook_points(here, layer))
    resid_pre = f"blocks.{layer}.hook_resid_pre"
    here.cache([*names, *([resid_pre] if here.has_hook_point(resid_pre) else [])])  # in one pass
    rerun = rerun_of(here, layer)
    for name in names:
        live = here.cache(name)[name]
        whole = scores_of(rerun(name, live), examples)
        for kind, given in stand_ins.by_kind(name, live):
            for part, ablated in _ablated(layer, live, given):
                scores = scores_of(rerun(name, ablated), examples)
                yield kind, part, changes(scores, whole, examples)


def rerun_of(snapshot: Snapshot, layer: int) -> Rerun:
    """A function from a layer's hook point, and an activation there, to logits where scored.

    Layers before the last cost a pass; the last is run at the scored positions alone.
    """
    if layer == snapshot.config.n_layers - 1 and has_last_block(snapshot):
        block = LastBlock(snapshot)
        return lambda name, value: block.logits({name: block.at_answers(value)})

    def whole_pass(name: str, value: Tensor) -> Tensor:
        def put(activation: Tensor, hook: Any, rows: Tensor) -> Tensor:
            return value[rows.cpu()].to(activation)

        edit = Edit(row_hooks={name: put}, n_examples=len(snapshot.examples))
        return scored_logits(snapshot.edited(edit))

    return whole_pass


def _hook_points(snapshot: Snapshot, layer: int) -> Iterator[str]:
    """Where a layer's heads and its MLP, if it has one, give what they give."""
    yield f"blocks.{layer}.attn.hook_z"
    mlp_out = f"blocks.{layer}.hook_mlp_out"
    if snapshot.has_hook_point(mlp_out) and not getattr(snapshot.config, "attn_only", False):
        yield mlp_out


def _ablated(layer: int, live: Tensor, given: Tensor) -> Iterator[tuple[str, Tensor]]:
    """By part, the activation of a pass with the part's own replaced by what is given."""
    if live.ndim == 3:
        yield f"{layer}.mlp", given
        return
    for head in range(live.shape[2]):
        ablated = live.clone()
        ablated[:, :, head] = given[:, :, head]
        yield f"{layer}.h{head}", ablated


def _marks(
    effects: Float[np.ndarray, "kind part"],
    errors: Float[np.ndarray, "kind part"],
    first: Float[np.ndarray, "kind part"],
    places: Sequence[int],
) -> list[dict[str, Any]]:
    """For each kind its effects with their errors, beside those at the first step and 0."""
    traces = [line(_ends(places), np.zeros(2), "nothing ablated", NOTHING)]
    shifts = np.linspace(-SPREAD / 2, SPREAD / 2, len(KINDS))
    x = np.arange(len(places)) + shifts[:, None]
    if not np.isnan(first[:, places]).all():
        style = {"color": PALETTE[6], "symbol": "x-thin-open", "size": 7}
        traces.append(dots(x.ravel(), first[:, places].ravel(), "first step", style))
    for index, kind in enumerate(KINDS):
        y, error = effects[index, places], errors[index, places]
        traces.append(whiskers(x[index], y, (y - error, y + error), _words(kind), index))
    return traces


def _ends(places: Sequence[int]) -> np.ndarray:
    """From the left to the right end of an abscissa of some parts."""
    return np.array([-0.5, len(places) - 0.5])


def _words(kind: str) -> str:
    return kind.replace("_", " ")
