"""How many directions does a minimum have, and when in training does their number change?

The local learning coefficient (LLC) is lambda in V(t) ~ t^lambda (-ln t)^(m-1), where V(t) is the
volume near the parameters w* whose loss is at most t above that of w*: half the number of
parameters at a regular minimum, less at a degenerate one. At every step chains near w* estimate

    lambda = nbeta (E[L(w)] - L(w*)),  w ~ exp(-nbeta L(w) - gamma/2 |w - w*|^2),  nbeta = n / ln n

L is the mean loss in nats over the training examples. What is estimated is the number of
directions stiffer than gamma / nbeta, over 2: only a curve at one setting means anything.

Source: Watanabe 2013 (WBIC); Lau et al. 2023 (arXiv:2308.12108). `hooks.sgld` makes the chains.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from analyses.circuits.words import is_larger, number, with_error
from analyses.findings import Finding
from analyses.plots import PALETTE, Panel, dots, grid, line
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SeriesResult
from hooks import Checkpoints, Examples
from hooks.fast.loss import TOKENS_AT_ONCE, StackedLoss
from hooks.fast.stack import Layout
from hooks.models import move, restore
from hooks.sgld import Chains, Langevin, Loss, downhill, gaussian_rise, largest_curvature, sgld

FULL_BATCH = 10_000  # fewer training examples than this are all seen at every step
MINIBATCH = 256  # examples, where there are more
EVALUATED = 1_000  # examples whose loss is recorded then
NUMBERS_AT_ONCE = 2**26  # parameters of all points together

MAX_BELOW = 0.05  # share of draws with a loss below that of w*
MAX_DOWNHILL = 0.05  # of the estimate, that the loss falls along its gradient at w*
MAX_DRIFT = 0.1  # of the estimate, between the two halves of the draws
LEAST_GAP = 0.1  # of Gaussian noise's value, by which the estimate must differ from it
MAX_STEP_INDEX = 1.0  # eps h of the stiffest direction, which then counts a third too much

DIVERGED = "chains diverged"
TOO_LARGE = "step size too large"
FALLS = "loss falls: not at a minimum"
DRIFTS = "not settled"


@dataclass(frozen=True, eq=False)
class LocalLearningCoefficient(SeriesResult):
    """The local learning coefficient at steps of a run, beside its controls and its diagnostics.

    Attributes:
        steps: The steps.
        gammas: Strengths of the pull to w*; the first is the setting that is drawn and summarised.
        eps: The step size at each of them.
        estimates: What each chain gives, whatever the diagnostics say; NaN for a chain with a loss
            that is not finite.
        halves: The same of the first and of the second half of the draws, the mean over chains.
        below: Share of the draws of all chains whose loss is below that of w*.
        downhill: How far nbeta L + gamma/2 |w - w*|^2 falls along the gradient at w*, in the unit
            of the estimate (`hooks.sgld.downhill`).
        step_index: eps (nbeta k + gamma), where k is the largest curvature at w*: a direction
            counts 1 / (1 - index/4) times; chains diverge from 4 on.
        lowest: The smallest loss that a chain saw, in nats.
        distance: How far from w* the chains are after their last step, the mean over chains.
        gauss: The control: nbeta (E[L(w* + N(0, 1/gamma))] - L(w*)), of eight draws. Where it
            equals the estimate, the chains have added nothing.
        train_loss: L(w*) in nats, on the examples whose loss is recorded.
        held_out: Accuracy on examples that are not trained on, interpolated linearly between two
            evaluations; NaN throughout where none was recorded.
        held_out_name: Its column of the metrics, or nothing.
        frozen: Parameters that stay fixed.
        d: Number of the others.
        n: Number of scored predictions in the training examples.
        nbeta: What the loss is multiplied by.
        burn_in: Steps of a chain before its first draw.
        draws: Steps whose losses count.
        minibatch: Examples in the minibatch that a gradient is of; 0 where it is of all. Its noise
            adds to the estimate.
        evaluated: Examples whose loss is recorded.
    """

    needs: ClassVar = Needs(classes=True)
    by_default: ClassVar = Needs(asked=True)
    coordinates: ClassVar = {"gamma": "gammas", "half": ("first", "second")}
    rows: ClassVar = ("gamma", "step")
    columns: ClassVar = {
        "llc": "llc",
        "error": "error",
        "reason": "reasons",
        "estimate": "estimate",
        "gauss": "gauss",
        "train_loss": "train_loss",
        "held_out": "held_out",
        "below": "below",
        "downhill": "downhill",
        "step_index": "step_index",
        "lowest": "lowest",
        "distance": "distance",
    }

    steps: Int[np.ndarray, " step"]
    gammas: Float[np.ndarray, " gamma"]
    eps: Float[np.ndarray, " gamma"]
    estimates: Float[np.ndarray, "gamma step chain"]
    halves: Float[np.ndarray, "gamma step half"]
    below: Float[np.ndarray, "gamma step"]
    downhill: Float[np.ndarray, "gamma step"]
    step_index: Float[np.ndarray, "gamma step"]
    lowest: Float[np.ndarray, "gamma step"]
    distance: Float[np.ndarray, "gamma step"]
    gauss: Float[np.ndarray, "gamma step"]
    train_loss: Float[np.ndarray, " step"]
    held_out: Float[np.ndarray, " step"]
    held_out_name: str
    frozen: tuple[str, ...]
    d: int
    n: int
    nbeta: float
    burn_in: int
    draws: int
    minibatch: int
    evaluated: int

    @classmethod
    def measure(
        cls,
        series: Checkpoints,
        *,
        gammas: tuple[float, ...] = (100.0,),
        eps: tuple[float, ...] | None = None,
        chains: int = 2,
        burn_in: int = 200,
        draws: int = 200,
        steps: tuple[int, ...] | None = None,
        count: int | None = None,
        split: str = "train",
        frozen: tuple[str, ...] | None = None,
        nbeta: float | None = None,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> "LocalLearningCoefficient":
        """Runs chains at steps of a run: about five seconds a step for small models.

        Args:
            series: A run whose answers are classes.
            gammas: Strengths of the pull to w*.
            eps: A step size for each; by default 1e-4, or 0.1 / gamma where that is smaller.
            chains: Chains a step; their spread is the error.
            burn_in: Steps of a chain before its first draw. Flat directions relax in
                2 / (eps gamma) steps.
            draws: Steps whose losses count.
            steps: Kept steps; all by default.
            count: How many of them, evenly spaced among them, the first and the last included.
            split: The split whose examples are trained on. For a task that draws its training
                examples without end, the one whose examples are to stand for them.
            frozen: Patterns of parameters that stay fixed (`*.b_*`). By default those that no kept
                step has changed: training froze them.
            nbeta: What the loss is multiplied by; n / ln n by default.
            batch_size: Examples in a minibatch; by default all of them below 10,000, else 256.
            seed: Decides the noise.

        Raises:
            ValueError: There is no such split or step, a pattern matches nothing, nothing is
                trained, fewer than two answers are scored, or an option is out of its range.
        """
        steps = _chosen(series.steps, steps, count)
        examples = _training_examples(series, split)
        n, trained, fixed = int(examples.scored.sum()), *_trained(series, frozen)
        if n < 2:
            raise ValueError(f"split '{split}' has {n} scored answers: two are needed for n / ln n")
        nbeta = n / math.log(n) if nbeta is None else nbeta
        eps = tuple(min(1e-4, 0.1 / max(gamma, 1)) for gamma in gammas) if eps is None else eps
        if len(eps) != len(gammas) or not gammas:
            raise ValueError(f"eps has {len(eps)} and gammas {len(gammas)}: give one for each")
        walks = [
            Langevin(nbeta, gamma, size, chains, burn_in, draws, seed)
            for gamma, size in zip(gammas, eps, strict=True)
        ]
        batches = _Batches.of(examples, batch_size, seed)
        stack = _Stack(series, examples, batches, trained, fixed)
        columns = _joined(
            [_measured(*stack.of(some), walks) for some in stack.groups(steps, chains)]
        )
        name, held_out = _held_out(series, steps)
        return cls(
            steps=np.array(steps, dtype=np.int64),
            gammas=np.array(gammas, dtype=np.float64),
            eps=np.array(eps, dtype=np.float64),
            **columns,
            held_out=held_out,
            held_out_name=name,
            frozen=tuple(fixed),
            d=stack.layout.width,
            n=n,
            nbeta=nbeta,
            burn_in=burn_in,
            draws=draws,
            minibatch=batches.size or 0,
            evaluated=len(batches.evaluated),
        )

    @property
    def estimate(self) -> Float[np.ndarray, "gamma step"]:
        """The mean over chains, whatever the diagnostics say; NaN where a chain diverged."""
        return self.estimates.mean(-1)

    @property
    def diverged(self) -> Int[np.ndarray, "gamma step"]:
        """How many chains had a loss that was not finite."""
        return np.isnan(self.estimates).sum(-1)

    @property
    def reasons(self) -> Shaped[np.ndarray, "gamma step"]:
        """Why there is no coefficient; empty where there is one."""
        size = np.abs(self.estimate)
        falls = (self.below > MAX_BELOW) | ~(self.downhill <= MAX_DOWNHILL * size)
        drifts = np.abs(np.diff(self.halves, axis=-1)[..., 0]) > MAX_DRIFT * size
        conditions = [self.diverged > 0, self.step_index > MAX_STEP_INDEX, falls, drifts]
        return np.select(conditions, [DIVERGED, TOO_LARGE, FALLS, DRIFTS], "")

    @property
    def llc(self) -> Float[np.ndarray, "gamma step"]:
        """The coefficient; NaN where the diagnostics refuse it (`reasons`)."""
        return np.where(self.reasons == "", self.estimate, np.nan)

    @property
    def error(self) -> Float[np.ndarray, "gamma step"]:
        """Standard error of the coefficient over chains; NaN where there is one chain or no number.

        Steps have their noise in common, so that their errors are no independent ones.
        """
        chains = self.estimates.shape[-1]
        if chains < 2:
            return np.full_like(self.estimate, np.nan)
        spread = self.estimates.std(-1, ddof=1) / math.sqrt(chains)
        return np.where(self.reasons == "", spread, np.nan)

    @property
    def setting(self) -> str:
        """All that the values of the first gamma depend on."""
        return self._setting(0)

    def summary(self) -> dict[str, float | str]:
        """The coefficient at the last step and at its peak, the control, and the setting."""
        llc, reasons = self.llc, self.reasons
        peak = _peak(llc[0])
        return {
            "llc": float(llc[0, -1]),
            "reason": str(reasons[0, -1]),
            "llc_error": float(self.error[0, -1]),
            "gauss": float(self.gauss[0, -1]),
            "peak_step": math.nan if peak is None else int(self.steps[peak]),
            "llc_peak": math.nan if peak is None else float(llc[0, peak]),
            **{
                f"llc_gamma_{gamma:g}": float(values[-1])
                for gamma, values in zip(self.gammas[1:], llc[1:], strict=True)
            },
            "without_number": int((reasons[0] != "").sum()),
            "steps": len(self.steps),
            "n": self.n,
            "d": self.d,
            "setting": self.setting,
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """The coefficient at the last step that has one, and at its peak, beside Gaussian noise.

        Null where it differs from what noise alone gives by under a tenth or three standard errors:
        the chains have added nothing then.
        """
        llc, reasons = self.llc[0], self.reasons[0]
        peak = _peak(llc)
        if peak is None:
            text = f"No step has a learning coefficient; at the last one: {reasons[-1]}"
            return (Finding(text, "not found", "llc"),)
        last = int(np.flatnonzero(~np.isnan(llc))[-1])
        value, error, noise = (
            float(values[0, last]) for values in (self.llc, self.error, self.gauss)
        )
        text = (
            f"The learning coefficient is {with_error(value, error)} at step {self.steps[last]:,}"
        )
        if peak != last:
            text += f", {number(float(llc[peak]))} at its peak at step {self.steps[peak]:,}"
        text += f"; Gaussian noise in place of chains gives {number(noise)} at step "
        text += f"{self.steps[last]:,}"
        is_found = is_larger(abs(value - noise), LEAST_GAP * abs(noise), error)
        return (Finding(text, "found" if is_found else "null", "llc"),)

    def figures(self) -> Mapping[str, Drawing]:
        """The curve at the first gamma with its controls; a panel a gamma where there are more."""
        figures = {
            "llc": grid(
                [self._panel(0), *self._controls()],
                title=f"{self._finding()}<br><sub>{self.setting}</sub>",
                across="step (updates)",
                columns=1,
                xaxis={},
            )
        }
        if len(self.gammas) > 1:
            figures["gammas"] = grid(
                [*(self._panel(index) for index in range(len(self.gammas))), *self._controls()[1:]],
                title="The coefficient counts other directions at other gammas: compare shapes, "
                f"not values<br><sub>{self._setting(None)}</sub>",
                across="step (updates)",
                columns=1,
                xaxis={},
            )
        return figures

    def _setting(self, index: int | None) -> str:
        """What values depend on, at one gamma or at all."""
        at = slice(None) if index is None else slice(index, index + 1)
        gammas, eps = (
            ", ".join(f"{value:g}" for value in values[at]) for values in (self.gammas, self.eps)
        )
        noise = f", minibatches of {self.minibatch}, whose noise adds to it" * (self.minibatch > 0)
        chains = f"{self.estimates.shape[-1]} chains of {self.burn_in} + {self.draws} steps"
        return (
            f"n = {self.n:,} scored predictions, nbeta = {self.nbeta:.4g}, gamma = {gammas}, "
            f"eps = {eps}, {chains}{noise}"
        )

    def _finding(self) -> str:
        """What the curve shows, in a title's words."""
        llc, refused = self.llc[0], int((self.reasons[0] != "").sum())
        peak = _peak(llc)
        if peak is None:
            return f"No coefficient: {self.reasons[0, -1]} (last step)"
        last = np.flatnonzero(~np.isnan(llc))[-1]
        without = f"; {refused} of {len(llc)} steps give none" * (refused > 0)
        return (
            f"Learning coefficient {llc[peak]:,.4g} at step {self.steps[peak]}, {llc[last]:,.4g} "
            f"at step {self.steps[last]} (noise alone: {self.gauss[0, peak]:,.4g}, "
            f"{self.gauss[0, last]:,.4g}){without}"
        )

    def _panel(self, index: int) -> Panel:
        """The coefficient at a gamma, its Gaussian control, and steps that give no coefficient."""
        llc, reasons, estimate = self.llc[index], self.reasons[index], self.estimate[index]
        curve = line(self.steps, llc, "LLC", {"color": PALETTE[0], "width": 2})
        curve |= {"mode": "lines+markers", "marker": {"size": 6}}
        errors = np.nan_to_num(self.error[index])
        curve |= {
            "error_y": {"type": "data", "array": errors.tolist(), "arrayminus": errors.tolist()}
        }
        control = {"color": PALETTE[1], "width": 2, "dash": "dash"}
        traces = [curve, line(self.steps, self.gauss[index], "Gaussian noise alone", control)]
        shown = np.concatenate([llc, self.gauss[index]])
        floor = np.min(shown[shown > 0], initial=np.inf)
        for symbol, reason in (
            ("circle-open", DRIFTS), ("x-thin", FALLS), ("triangle-up-open", TOO_LARGE),
            ("square-open", DIVERGED),
        ):  # fmt: skip
            at = reasons == reason
            heights = estimate if reason == DRIFTS else np.full(len(llc), floor)
            marker = {"symbol": symbol, "size": 9, "color": PALETTE[6], "line": {"width": 2}}
            if at.any() and np.isfinite(heights[at]).all():
                traces.append(dots(self.steps[at], heights[at], f"none: {reason}", marker))
        return Panel("", f"LLC at<br>gamma {self.gammas[index]:g}", traces, is_log=True)

    def _controls(self) -> list[Panel]:
        """Train loss, and accuracy on held-out examples where it was recorded."""
        loss = line(self.steps, self.train_loss, "train loss", {"color": PALETTE[3], "width": 2})
        panels = [Panel("", "train loss<br>(nats)", [loss], is_log=True)]
        if self.held_out_name:
            style = {"color": PALETTE[2], "width": 2, "dash": "dot"}
            accuracy = line(self.steps, self.held_out, self.held_out_name, style)
            panels.append(Panel("", "held-out<br>accuracy", [accuracy], (-0.05, 1.05)))
        return panels


def _peak(values: Float[np.ndarray, " step"]) -> int | None:
    """Where the largest value is, if there is any."""
    return None if np.isnan(values).all() else int(np.nanargmax(values))


@dataclass(frozen=True, eq=False)
class _Batches:
    """Which examples gradients and recorded losses are of.

    Attributes:
        size: Examples in a minibatch, drawn anew at every step; None where all are seen.
        evaluated: The examples whose loss is recorded.
    """

    size: int | None
    evaluated: Examples

    @classmethod
    def of(cls, examples: Examples, size: int | None, seed: int) -> "_Batches":
        """All examples, or minibatches and a fixed part of them."""
        if size is not None and size < 1:
            raise ValueError(f"batch_size = {size}: give 1 or more")
        if len(examples) < FULL_BATCH:
            return cls(size, examples)
        return cls(size or MINIBATCH, examples.drawn(EVALUATED, seed))


@dataclass(frozen=True, eq=False)
class _Stack:
    """Makes points and their loss of a run's steps.

    Attributes:
        series: The run.
        examples: Its training examples.
        batches: Which of them gradients and recorded losses are of.
        trained: Parameters that make a point.
        fixed: All others.
    """

    series: Checkpoints
    examples: Examples
    batches: _Batches
    trained: tuple[str, ...]
    fixed: tuple[str, ...]

    @property
    def layout(self) -> Layout:
        """Where each trained parameter lies in a point."""
        parameters = self.series.parameters(self.series.steps[-1])
        return Layout({name: tuple(parameters[name].shape) for name in self.trained})

    def groups(self, steps: Sequence[int], chains: int) -> Iterator[Sequence[int]]:
        """Steps whose chains run together, as many as memory allows."""
        seen = self.batches.size or len(self.examples)
        tokens = seen * self.examples.model_inputs.shape[1]
        points = min(TOKENS_AT_ONCE // tokens, NUMBERS_AT_ONCE // self.layout.width)
        size = max(1, points // chains)
        return (steps[start : start + size] for start in range(0, len(steps), size))

    def of(self, steps: Sequence[int]) -> tuple[Loss, Float[Tensor, "step parameter"]]:
        """The loss of some steps, for any number of chains, and their points."""
        series, size = self.series, self.batches.size
        snapshots = [series.snapshot(step, self.batches.evaluated) for step in steps]
        states, device = [each.parameters() for each in snapshots], snapshots[0].live.device
        model = restore(series.config, series.sizes, states[0])
        model.train(False)  # without dropout
        move(model, device)
        fixed = {
            name: torch.stack([each[name] for each in states]).to(device) for name in self.fixed
        }
        points = self.layout.join(states).to(device)
        recorded = StackedLoss.of(model, series.config, self.layout, fixed, snapshots[0].examples)
        trained_on = snapshots[0].on(self.examples).examples
        drawn = replace(recorded, examples=trained_on)
        return Loss(
            recorded.parts(len(points)), partial(drawn.drawn, size=size) if size else None
        ), points


def _measured(
    loss: Loss, start: Float[Tensor, "step parameter"], walks: Sequence[Langevin]
) -> dict[str, np.ndarray]:
    """The fields that some steps have, steps on the axis before that of chains or halves."""
    curvature = largest_curvature(loss, start, walks[0].seed)
    rows = [
        _of_chains(sgld(loss, start, walk), walk)
        | {
            "downhill": downhill(loss, start, walk),
            "gauss": gaussian_rise(loss, start, walk),
            "step_index": walk.eps * (walk.nbeta * curvature + walk.gamma),
        }
        for walk in walks
    ]
    columns = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    columns["train_loss"] = loss.values(start)
    return {name: values.cpu().numpy() for name, values in columns.items()}


def _of_chains(chains: Chains, walk: Langevin) -> dict[str, Tensor]:
    """What the losses of chains say of each step."""
    rises = walk.nbeta * (chains.losses - chains.start_losses)
    is_finite = rises.isfinite().all(0)  # burn-in included
    drawn = rises[walk.burn_in :]
    halves = [half.mean((0, 1)) for half in drawn.tensor_split(2)]
    return {
        "estimates": drawn.mean(0).where(is_finite, torch.nan).T,
        "halves": torch.stack(halves, -1).nan_to_num(torch.nan, torch.nan, torch.nan),
        "below": (drawn < 0).double().mean((0, 1)),
        "lowest": chains.losses.nan_to_num(torch.inf).amin((0, 1)),
        "distance": chains.distances.mean(0).nan_to_num(torch.nan, torch.nan, torch.nan),
    }


def _joined(groups: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Fields of groups of steps, one group after the other."""
    return {
        name: np.concatenate([group[name] for group in groups], axis=min(values.ndim - 1, 1))
        for name, values in groups[0].items()
    }


def _chosen(
    kept: Sequence[int], steps: tuple[int, ...] | None, count: int | None
) -> tuple[int, ...]:
    """Some of the kept steps.

    Raises:
        ValueError: A step was not kept, there are none, or fewer than one is asked for.
    """
    chosen = tuple(kept) if steps is None else tuple(sorted({*steps}))
    unknown = [step for step in chosen if step not in kept]
    if unknown or not chosen:
        raise ValueError(
            f"steps: {f'{unknown[0]} was not kept' if unknown else 'none are given'}; there are "
            f"{', '.join(map(str, kept)) or 'none'}"
        )
    if count is not None and count < 1:
        raise ValueError(f"count = {count}: give 1 or more")
    if count is None or count >= len(chosen):
        return chosen
    places = np.linspace(len(chosen) - 1, 0, count).round().astype(int)[::-1]
    return tuple(chosen[place] for place in places)


def _training_examples(series: Checkpoints, split: str) -> Examples:
    """The examples of a split; of `train`, those labelled so where there is such a label.

    Raises:
        ValueError: There is no such split, or none is labelled.
    """
    try:
        examples = series.examples(split)
    except ValueError as error:
        raise ValueError(
            f"LocalLearningCoefficient needs training examples: {error}; where they are drawn "
            "without end, name the split that is to stand for them"
        ) from None
    if split != "train" or "train" not in examples.labels:
        return examples
    chosen = examples.label("train").bool()
    if chosen.ndim != 1 or not chosen.any():
        raise ValueError("LocalLearningCoefficient needs training examples: none is labelled train")
    return examples.at(chosen.nonzero()[:, 0])


def _trained(
    series: Checkpoints, frozen: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of parameters that are trained, and of the others.

    Raises:
        ValueError: A pattern matches no parameter, or nothing is trained.
    """
    first, *others = (series.parameters(step) for step in series.steps)
    names = tuple(first)
    if frozen is None:
        fixed = {name for name in names if others and _is_constant(name, first, others)}
        remedy = "no parameter changes between the kept steps: give frozen, such as ['*.b_*']"
    else:
        for pattern in frozen:
            if not any(_matches(name, pattern) for name in names):
                raise ValueError(
                    f"frozen: '{pattern}' matches no parameter; there are {', '.join(names)}"
                )
        fixed = {name for name in names if any(_matches(name, pattern) for pattern in frozen)}
        remedy = "frozen: nothing is left that is trained; take a pattern out"
    if len(fixed) == len(names):
        raise ValueError(remedy)
    return tuple(n for n in names if n not in fixed), tuple(n for n in names if n in fixed)


def _matches(name: str, pattern: str) -> bool:
    """Whether a pattern means a parameter, as `training.frozen` does."""
    return any(fnmatch(each, pattern) for each in (name, name.replace(".attn._", ".attn.")))


def _is_constant(
    name: str, first: Mapping[str, Tensor], others: Sequence[Mapping[str, Tensor]]
) -> bool:
    value = first[name]
    return all(torch.equal(value, other[name]) for other in others)


def _held_out(series: Checkpoints, steps: Sequence[int]) -> tuple[str, Float[np.ndarray, " step"]]:
    """Accuracy that was recorded on a split that is not trained on: its column, and its values."""
    metrics = series.recorded_metrics()
    names = [] if metrics is None else list(metrics)
    found = [n for n in names if n.endswith(".accuracy") and not n.startswith("train")]
    if metrics is None or not found:
        return "", np.full(len(steps), np.nan)
    name = next((n for n in ("test.accuracy", "generalization.accuracy") if n in found), found[0])
    known = metrics[["step", name]].to_numpy(dtype=np.float64).T
    return name, np.interp(steps, *known)
