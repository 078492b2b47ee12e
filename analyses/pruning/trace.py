"""Which parts of a network does weight decay prune, and when, beside when accuracy arrives?

The size of every member of a kind (a Fourier frequency of W_E, an input, a neuron, a head, a single
weight of a matrix) at every kept step. The key group carries most of the squared size at the end.
Pruning is the decay of all others: given are the steps at which their norm peaks, has halved and
has vanished, its lag behind the accuracy crossing, and how concentrated the sizes are.

What is kept does not grow with the number of members: of a large matrix a few paths are kept whole,
half of them of the key weights that end largest, half of the others that were largest at any step.
The rest is kept as quantiles.

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), which traces
single weights of a parity network, relevant inputs against distractors; Merrill et al. 2023
(arXiv:2303.11873) for the competition of two groups of neurons. Groups by size at the end are ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.findings import Finding, Strength, percent
from analyses.fourier import keys_by_share
from analyses.plots import Figure, bundles, lines, mark_steps, words
from analyses.pruning.sizes import EFFECTIVE, members_of
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SeriesResult
from analyses.statistics import MEASURES, crossing, first_after, rise_on_the_way
from hooks import Series

if TYPE_CHECKING:
    import pandas

STEP = "step (updates)"
HALF = 0.5  # of its peak, to which the others' norm must fall to count as pruned
APART = 0.5  # of the key group's factor since then, which the others' must not exceed
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

SizesAt = Callable[[int], Tensor]  # from a step to the members' sizes


@dataclass(frozen=True, eq=False)
class PruningTrace(SeriesResult):
    """Sizes of a network's members at every step, in two groups: the key group and the others.

    Attributes:
        by: Kind of member: frequency (of W_E), neuron, input, head or weight.
        matrix: The matrix whose single weights are traced; empty for other kinds.
        steps: The kept steps.
        members: Index of each member whose path is kept: in its matrix, or its number, which of a
            frequency is the frequency itself.
        is_key: Which of these members are in the key group.
        paths: Size of each of these members: the norm of a frequency's components of W_E; |w_in|
            |w_out| of a neuron; the norm of what neurons read from an input, weighed by their
            |w_out|; the norm of a head's OV matrix; a single weight with its sign.
        rest: Quantiles (0, 5, 25, 50, 75, 95 and 100 %) of the sizes whose paths are not kept;
            empty where all are.
        totals: Number of members in the key group, and of others.
        norms: Norm of the key group's sizes and of the others'.
        counts: Members above the threshold in the key group and among the others.
        concentration: Each of `analyses.statistics.MEASURES` of all sizes.
        threshold: Share of the largest size of all steps below which a member counts as pruned.
        metric_steps: Steps of the recorded metrics; none where the run recorded none.
        train_loss: Recorded train loss there.
        test_accuracy: Recorded test accuracy.
    """

    by_default: ClassVar = Needs(any_weights=("neuron_in", "blocks.0.attn.W_V"))
    coordinates: ClassVar = {"group": ("key", "others"), "measure": tuple(MEASURES)}

    by: str
    matrix: str
    steps: Int[np.ndarray, " step"]
    members: Int[np.ndarray, "path coordinate"]
    is_key: Bool[np.ndarray, " path"]
    paths: Float[np.ndarray, "path step"]
    rest: Float[np.ndarray, "quantile step"]
    totals: tuple[int, int]
    norms: Float[np.ndarray, "group=2 step"]
    counts: Int[np.ndarray, "group=2 step"]
    concentration: Float[np.ndarray, "measure step"]
    threshold: float
    metric_steps: Int[np.ndarray, " evaluation"]
    train_loss: Float[np.ndarray, " evaluation"]
    test_accuracy: Float[np.ndarray, " evaluation"]

    @classmethod
    def measure(
        cls,
        series: Series,
        *,
        by: str | None = None,
        matrix: str | None = None,
        key: Sequence[int] | None = None,
        share: float = 0.9,
        threshold: float = 0.05,
        paths: int = 100,
    ) -> "PruningTrace":
        """Traces a run, whose checkpoints are read twice, one at a time.

        Args:
            series: Any run whose model answers to the weights that `by` needs.
            by: frequency, neuron, input, head or weight; by default weight where a matrix is named
                or the task tells which inputs matter, else the first that the model answers to.
            matrix: Whose single weights: a parameter, a view, or by default `effective`: w_in
                |w_out|, what a neuron reads from an input times the norm of what it writes.
            key: The key group: frequencies, or other members counted from 0; of a matrix rows,
                along its last but one axis. By default the inputs that matter, where the task
                tells them (and a constant one, the neurons' bias, which is not pruned either);
                else the fewest members that carry `share` of the squared size at the last step.
            share: See `key`.
            threshold: Share of the largest size below which a member counts as pruned.
            paths: How many members' paths are kept, if there are more: half of them key members,
                the largest at the end, half others, the largest at any step.

        Raises:
            ValueError: An option is out of range, or names what the model lacks, or weights are
                not finite or all zero.
        """
        import pandas

        if not 0 <= threshold < 1:
            raise ValueError(f"threshold = {threshold}: a share is from 0 to less than 1")
        traced, steps = members_of(series, by, matrix), series.steps
        key = traced.relevant() if key is None else key
        first = int(traced.by == "frequency")  # frequencies are counted from 1, all else from 0
        is_key = key_members(traced.at(steps[-1]), share, key, first)
        fields = member_paths(traced.at, steps, is_key, threshold=threshold, count=paths)
        fields["members"] += first
        recorded = series.metrics if series.has_metrics else pandas.DataFrame({"step": []})
        metrics = recorded.reindex(columns=["step", "train.loss", "test.accuracy"])
        return cls(
            by=traced.by,
            matrix=traced.matrix,
            steps=np.array(steps),
            **fields,
            threshold=threshold,
            metric_steps=metrics["step"].to_numpy(dtype=np.int64),
            train_loss=metrics["train.loss"].to_numpy(dtype=np.float64),
            test_accuracy=metrics["test.accuracy"].to_numpy(dtype=np.float64),
        )

    @property
    def quantiles(self) -> tuple[float, ...]:
        """What the rows of `rest` are quantiles at; none where it is empty."""
        return QUANTILES[: len(self.rest)]

    @property
    def t_peak(self) -> float:
        """Step at which the others' norm is largest; NaN if there are no others."""
        return np.nan if not self.totals[1] else float(self.steps[self.norms[1].argmax()])

    @property
    def t_half(self) -> float:
        """First later step with less than half that norm; NaN if there is none."""
        return first_after(self.steps, self.norms[1] < self.norms[1].max() / 2, self.t_peak)

    @property
    def t_pruned(self) -> float:
        """First later step from which on no other member is above the threshold; NaN if none."""
        left = np.flip(np.cumsum(np.flip(self.counts[1])))
        return first_after(self.steps, left == 0, self.t_peak)

    @property
    def t_accuracy(self) -> float:
        """Step at which test accuracy crosses 0.99 for three evaluations; NaN without metrics."""
        return crossing(self.metric_steps, self.test_accuracy, level=0.99, evaluations=3)

    @property
    def train_loss_bump(self) -> float:
        """The peak of the train loss divided by the least loss before it.

        Above 1, train loss got worse on the way. Where pruning never ends, up to the last step; NaN
        without crossing.
        """
        return rise_on_the_way(self.metric_steps, self.train_loss, self.t_accuracy, self.t_pruned)

    def sparsity(self, measure: str) -> Float[np.ndarray, " step"]:
        """A measure of `analyses.statistics.MEASURES` of all members' sizes at each step."""
        return self.concentration[list(MEASURES).index(measure)]

    def summary(self) -> dict[str, float | str]:
        """Members, times, lags and bump, and how concentrated the sizes are at the end."""
        key, others = self.norms[:, -1]
        return {
            "by": self._kinds[0],
            "members": sum(self.totals),
            "key_members": self.totals[0],
            "key_left": int(self.counts[0, -1]),
            "others_left": int(self.counts[1, -1]),
            "others_over_key_at_end": float(others / key) if key else np.nan,
            "t_peak": self.t_peak,
            "t_half": self.t_half,
            "t_pruned": self.t_pruned,
            "t_accuracy": self.t_accuracy,
            "lag": self.t_pruned - self.t_accuracy,
            "lag_half": self.t_half - self.t_accuracy,
            "train_loss_bump": self.train_loss_bump,
            **{f"{name}_at_end": float(self.sparsity(name)[-1]) for name in MEASURES},
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """How far the others' norm falls from its peak beside the key group's; when it halves.

        Pruning is found where the others fall to half of their peak or less, and to half or less of
        what the key group does over the same steps; not found where they do not fall so far; null
        where the key group falls about as far, as if all weights decayed alike.
        """
        if not all(self.totals) or not self.norms[0, self._peak]:
            return ()
        key, others = self.norms[:, -1] / self.norms[:, self._peak]
        strength: Strength = "found" if others <= HALF else "not found"
        if others <= HALF and others > APART * key:
            strength = "null"
        text = f"{self._since}: the norm of {self._change(1, others)}, of {self._change(0, key)}"
        fall = Finding(text, strength, "norms")
        if strength != "found" or np.isnan(self.t_accuracy) or np.isnan(self.t_half):
            return (fall,)
        lag = self.t_half - self.t_accuracy
        when = f"{abs(lag):,.0f} steps {'after' if lag > 0 else 'before'}" if lag else "just when"
        late = (
            f"The other {self._kinds[1]} halve at step {self.t_half:,.0f}, {when} test accuracy "
            f"reaches 99 % (step {self.t_accuracy:,.0f})"
        )
        return (fall, Finding(late, "found", "norms"))

    @property
    def _peak(self) -> int:
        """The place of the step at which the others' norm is largest."""
        return int(self.norms[1].argmax())

    @property
    def _since(self) -> str:
        """From the others' peak to the end, in words."""
        return f"From step {self.steps[self._peak]:,} to {self.steps[-1]:,}"

    def _change(self, group: int, factor: float) -> str:
        """A group and how far its norm fell or rose."""
        kind = self._kinds[self.totals[group] > 1]
        verb = "falls to" if factor < 1 else "rises to" if factor > 1 else "stays at"
        name = f"{self.totals[group]:,} {('key', 'other')[group]} {kind}"
        return f"{name} {verb} {percent(round(float(factor), 3))}"

    def to_frame(self) -> "pandas.DataFrame":
        """One row a step: `step`, norm and count of each group, every measure of sparsity."""
        import pandas

        return pandas.DataFrame(
            {
                "step": self.steps,
                "key_norm": self.norms[0],
                "others_norm": self.norms[1],
                "key_above": self.counts[0],
                "others_above": self.counts[1],
                **dict(zip(MEASURES, self.concentration, strict=True)),
            }
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Paths, the groups' norms, how many members count and how concentrated their sizes are."""
        member, members = self._kinds
        names = (f"{self.totals[0]} key {members}", "others")
        times = {
            "peak": self.t_peak,
            "half": self.t_half,
            "pruned": self.t_pruned,
            "test ≥ 99%": self.t_accuracy,
        }
        drawn = {
            "paths": self._paths(names),
            "norms": mark_steps(
                self._lines(
                    self._norms_title,
                    "norm of sizes",
                    dict(zip(names, self.norms, strict=True)),
                ),
                {label: step for label, step in times.items() if not np.isnan(step)},
            ),
            "numbers": self._lines(
                f"How many {members} count "
                f"(groups: above {self.threshold:.0%} of the largest size)",
                f"number of {members}",
                dict(zip(("key", "others"), self.counts, strict=True))
                | {
                    words(name): self.sparsity(name)
                    for name in ("effective_count", "participation_ratio")
                },
            ),
            "sparsity": self._lines(
                "How concentrated the sizes are",
                "0: all alike, 1: a single one",
                {name: self.sparsity(name) for name in ("gini", "hoyer")},
            ),
        }
        if self.rest.size:
            drawn["rest"] = self._lines(
                f"Quantiles of the other {sum(self.totals) - len(self.paths)} {members}",
                f"size of each {member}",
                {f"{q:.0%}": row for q, row in zip(self.quantiles, self.rest, strict=True)},
            )
        return drawn

    @property
    def _norms_title(self) -> str:
        """What the norms show: how far both groups change."""
        found = self.findings()
        return found[0].text if found else "Norm of the key group and of the others"

    def _paths(self, names: tuple[str, str]) -> Figure:
        total, (key, others) = sum(self.totals), self.norms[:, -1].tolist()
        share = key**2 / (key**2 + others**2) if key else 0
        drawn = f" ({len(self.paths)} of {total} drawn)" if len(self.paths) < total else ""
        return bundles(
            self.steps,
            dict(zip(names, (self.paths[self.is_key], self.paths[~self.is_key]), strict=True)),
            title=f"{names[0]} of {total} carry {share:.0%} of the squared size at the end",
            axes=(STEP, f"size of each {self._kinds[0]}{drawn}"),
        )

    def _lines(self, title: str, y: str, curves: Mapping[str, np.ndarray]) -> Figure:
        return lines(self.steps, curves, title=title, axes=(STEP, y))

    @property
    def _kinds(self) -> tuple[str, str]:
        """What one member is called, and what several are."""
        if self.by == "frequency":
            return self.by, "frequencies"
        if self.matrix == EFFECTIVE:
            return "effective weight", "effective weights"
        return f"weight of {self.matrix}" if self.matrix else self.by, f"{self.by}s"


def key_members(
    last: Float[Tensor, "*axis"], share: float, key: Sequence[int] | None, first: int = 0
) -> Bool[Tensor, "*axis"]:
    """Which members are in the key group.

    Args:
        last: Sizes at the last step; only their squares count.
        share: The fewest members that carry this share of the squared size.
        key: Members to take instead; of a matrix with several axes its rows, along the last but
            one axis.
        first: The index from which members are counted: 1 for frequencies, else 0.

    Raises:
        ValueError: share is not above 0 and at most 1, or there is no such member.
    """
    if key is None:
        power = last.flatten().square()
        chosen = torch.tensor(keys_by_share(power / power.sum(), share), dtype=torch.long)
        return torch.zeros_like(power).index_fill(0, chosen - 1, 1).bool().reshape(last.shape)
    count = last.shape[max(last.ndim - 2, 0)]
    if not all(first <= number < first + count for number in key):
        raise ValueError(
            f"key = {list(key)}: there are {count} {'rows' if last.ndim > 1 else 'members'}, "
            f"counted from {first}"
        )
    named = torch.isin(
        torch.arange(first, first + count), torch.tensor(list(key), dtype=torch.long)
    )
    return (named[:, None] if last.ndim > 1 else named).expand(last.shape)


def member_paths(
    at: SizesAt,
    steps: Sequence[int],
    is_key: Bool[Tensor, "*axis"],
    *,
    threshold: float,
    count: int,
) -> dict[str, Any]:
    """Follows members through a run, reading one step at a time.

    Each step is read twice: for the largest size each member ever has, then for all else.

    Args:
        at: From a step to the members' sizes, in float64; signs are kept in paths.
        steps: The steps, ascending.
        is_key: Which members are in the key group.
        threshold: Share of the largest size of all steps below which a member counts as pruned.
        count: How many paths to keep; see `kept_members`.

    Returns:
        The fields of `PruningTrace` that describe members.

    Raises:
        ValueError: All sizes are zero at every step, or a step has other axes than `is_key`.
    """
    peaks = largest_ever(at, steps, is_key.shape)
    groups = torch.stack([is_key.flatten(), ~is_key.flatten()])
    kept = kept_members(at(steps[-1]).abs().flatten(), peaks, groups[0], count)
    level = threshold * float(peaks.max())
    # Room is made once: a small array kept from each step would pin the large ones freed around it.
    fields: dict[str, np.ndarray] = {}
    for place, step in enumerate(steps):
        for name, array in _at_step(at(step).flatten(), kept, groups, level).items():
            if place == 0:
                fields[name] = np.empty((*array.shape, len(steps)), array.dtype)
            fields[name][..., place] = array
    return fields | {
        "members": np.stack(np.unravel_index(kept.numpy(), is_key.shape), axis=1),
        "is_key": groups[0, kept].numpy(),
        "totals": (int(groups[0].sum()), int(groups[1].sum())),
    }


def largest_ever(at: SizesAt, steps: Sequence[int], shape: torch.Size) -> Float[Tensor, " member"]:
    """The largest size that each member has at any step.

    Raises:
        ValueError: They are all zero, or a step has other axes than `shape`.
    """
    peaks = torch.zeros(shape.numel(), dtype=torch.float64)
    for step in steps:
        sizes = at(step).abs()
        if sizes.shape != shape:
            raise ValueError(
                f"checkpoint of step {step}: members have shape {list(sizes.shape)}, at the last "
                f"step {list(shape)}; is this the checkpoint of another experiment?"
            )
        peaks = torch.maximum(peaks, sizes.flatten())
    if not peaks.any():
        raise ValueError("every size is 0 at every step: there is nothing to trace")
    return peaks


def kept_members(
    last: Float[Tensor, " member"],
    peaks: Float[Tensor, " member"],
    is_key: Bool[Tensor, " member"],
    count: int,
) -> Int[Tensor, " path"]:
    """Members whose paths are kept, ascending; all of them where there are no more than `count`.

    Half of them are the key members that end largest, half the others that were ever largest; a
    group of fewer leaves its places to the other.

    Raises:
        ValueError: count is below 2.
    """
    if count < 2:
        raise ValueError(f"paths = {count}: keep two at least, one of each group")
    if len(last) <= count:
        return torch.arange(len(last))
    n_key, n_others = int(is_key.sum()), int((~is_key).sum())
    first = min(n_key, max((count + 1) // 2, count - n_others))
    key = last.where(is_key, -1).argsort(descending=True, stable=True)[:first]
    others = peaks.where(~is_key, -1).argsort(descending=True, stable=True)[: count - first]
    return torch.cat([key, others]).sort().values


def _at_step(
    values: Float[Tensor, " member"],
    kept: Int[Tensor, " path"],
    groups: Bool[Tensor, "group=2 member"],
    level: float,
) -> dict[str, np.ndarray]:
    """What is kept of one step."""
    sizes = values.abs()
    rest = np.delete(values.numpy(), kept.numpy())
    return {
        "paths": values[kept].float().numpy(),
        "rest": (np.quantile(rest, QUANTILES) if len(rest) else rest).astype(np.float32),
        "norms": (groups * sizes).norm(dim=1).numpy(),
        "counts": (groups & (sizes > level)).sum(1).numpy(),
        "concentration": torch.stack([measure(sizes) for measure in MEASURES.values()]).numpy(),
    }
