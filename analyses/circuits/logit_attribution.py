"""What does each part of a model write for the right answer, and when can the answer be read off?

The last residual stream is the sum of what parts write, x = sum_n out_n, and logits are linear in
it once the final norm's scale s is held at its value for each example and position:

    part n adds    out_n . u    u = (w g - mean(w g)) / s    g = W_U[:, right] - mean over classes

with the norm's gain w (without a norm u = g; RMS norm takes no mean off). The biases of the norm
and of the unembedding are parts too, so that parts sum to the right logit less the mean logit,
which is all that softmax sees of it. Where answers y are real numbers there is one output, and what
a part adds is E[out_n . u y] / E[y^2]: parts sum to the slope of the output on the answer, 1 where
it is right. The scale is held: this is no causal effect, since a part that
is taken away changes s too.

The logit lens reads logits off the stream between the blocks, through the final norm.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", for the sum; Wang
et al. 2022 (arXiv:2211.00593), section 3, for direct effects; nostalgebraist 2020, "Interpreting
GPT: the logit lens", for the lens.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from analyses.circuits.scored import mean_and_error, scored_logits, scores_of
from analyses.circuits.words import in_words, is_larger, number, sentence, with_error
from analyses.findings import Finding, percent
from analyses.plots.figures import Figure
from analyses.plots.panels import Panel, dots, grid, ticks, whiskers
from analyses.plots.style import MARK, PALETTE, line, stroke
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Result
from hooks import Examples, Snapshot
from hooks.snapshot import TOKENS_PER_BATCH
from hooks.stream import stream

if TYPE_CHECKING:
    import pandas

NOTHING, GUESSING = ({"color": MARK, "width": 1, "dash": dash} for dash in ("solid", "dot"))
LEAST_GAIN = 0.05  # of accuracy, over guessing and the first step, and of the last part
SUM_TOLERANCE = 1e-4  # of the parts' sizes, by which float32 sums may miss the logits
Lens = Literal["own", "frozen"]


@dataclass(frozen=True, eq=False)
class LogitAttribution(Result):
    """How much each part adds to the right answer's logit, and what a lens reads between blocks.

    Values are means over the scored positions: in logits, of the right class less the mean over
    classes; where answers are real numbers, shares of the answer.

    Attributes:
        parts: `embed`, `pos_embed`, heads (`0.h2`), what biases add (`0.b_O`, `0.b_out`,
            `ln_final.b`, `b_U`), and MLPs without theirs (`0.mlp`).
        attribution: What each part adds.
        error: Its standard error over examples.
        permuted: The same for the right answer of another position: a control that is 0 on average
            where a part knows nothing of the answer.
        first_attribution: What each part adds at the run's first step; NaN where that is not known.
        points: Where the lens reads: `resid_pre 0`, `resid_mid 0`, `resid_post 0`, ...
        lens_loss: Loss of what it reads, in nats a scored position; mean squared error of real
            numbers.
        lens_accuracy: Accuracy of what it reads; NaN for real numbers.
        first_lens_loss: The loss at the run's first step; NaN where that is not known.
        first_lens_accuracy: The accuracy there.
        lens: Whether the stream is normalised by its own statistics, or with the last one's scale.
        chance: Accuracy of guessing; NaN where it is not known.
        unit: What the loss is in.
    """

    needs: ClassVar = Needs(attention=True, weights=("W_U",))
    by_default: ClassVar = Needs(sum_of_parts=True)
    reference: ClassVar = "first"
    count: ClassVar = 1024
    sliding: ClassVar = ("attribution", "lens")
    coordinates: ClassVar = {"part": "parts", "point": "points"}

    parts: tuple[str, ...]
    attribution: Float[np.ndarray, " part"]
    error: Float[np.ndarray, " part"]
    permuted: Float[np.ndarray, " part"]
    first_attribution: Float[np.ndarray, " part"]
    points: tuple[str, ...]
    lens_loss: Float[np.ndarray, " point"]
    lens_accuracy: Float[np.ndarray, " point"]
    first_lens_loss: Float[np.ndarray, " point"]
    first_lens_accuracy: Float[np.ndarray, " point"]
    lens: str
    chance: float
    unit: str

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "LogitAttribution | None" = None,
        lens: Lens = "own",
        readout: bool = False,
        seed: int = 0,
    ) -> "LogitAttribution":
        """Measures one snapshot.

        Args:
            snapshot: A transformer that normalises what its parts read, or nothing (pre-norm).
            reference: The first snapshot's result with the same options, as a control; a snapshot
                of step 0 is its own.
            lens: own: the lens normalises each stream by its own statistics, as the model would if
                it ended there. frozen: it divides by the scale of the last stream, so that lenses
                differ by what the parts between them add.
            readout: Only reads through the unembedding, and attributes nothing: for models that
                normalise after each addition (post-norm), whose stream is no sum.
            seed: Of the permutation of right answers.

        Raises:
            ValueError: An option does not fit, the model is post-norm and `readout` is not asked
                for, it is no HookedTransformer, parts do not sum to the logits, no position is
                scored, logits are not finite, or `reference` is of another model.
        """
        if lens not in get_args(Lens):
            raise ValueError(f"lens '{lens}': take one of {', '.join(get_args(Lens))}")
        _check_model(snapshot, readout=readout)
        examples, logits = snapshot.examples, scored_logits(snapshot).double()
        points = _points(snapshot)
        parts: dict[str, Tensor] = {}
        permuted: dict[str, Tensor] = {}
        if not readout:
            answers = examples.targets[examples.scored].cpu()
            shuffled = torch.randperm(len(answers), generator=torch.Generator().manual_seed(seed))
            streams = scored_activations(snapshot, _written(snapshot))
            parts = _contributions(snapshot, streams, answers)
            permuted = _contributions(snapshot, streams, answers[shuffled])
            _check_sum(parts, logits, answers)
        if reference is not None and reference.parts != tuple(parts):
            raise ValueError("reference: it has other parts; measure it with the same options")
        mean, error = _means(parts, examples)
        read = [scores_of(each, examples) for each in _lenses(snapshot, points, lens)]
        losses = torch.stack([scores.losses.mean() for scores in read]).numpy()
        accuracies = torch.stack([scores.is_right.mean() for scores in read]).numpy()
        as_first = 1.0 if snapshot.step == 0 else math.nan
        return cls(
            parts=tuple(parts),
            attribution=mean,
            error=error,
            permuted=_means(permuted, examples)[0],
            first_attribution=reference.attribution if reference else mean * as_first,
            points=tuple(points),
            lens_loss=losses,
            lens_accuracy=accuracies,
            first_lens_loss=reference.lens_loss if reference else losses * as_first,
            first_lens_accuracy=reference.lens_accuracy if reference else accuracies * as_first,
            lens=lens,
            chance=math.nan if examples.facts.chance is None else float(examples.facts.chance),
            unit="squared error" if examples.targets.is_floating_point() else "nats",
        )

    def total(self, *ends: str, control: bool = False) -> float:
        """What some parts add together: those whose name ends so, or all; NaN where none is known.

        Args:
            ends: Ends of names, such as `mlp` or `embed`.
            control: Of a permuted answer instead.
        """
        values = self.permuted if control else self.attribution
        chosen = [not ends or part.endswith(ends) for part in self.parts]
        return float(values[chosen].sum()) if self.parts else math.nan

    def summary(self) -> dict[str, float | str]:
        """What kinds of parts add, the control, and the lens before the last part and at the end.

        NaN where nothing is attributed (`readout`), and of accuracy where answers are real numbers.
        """
        biases = self.total("b_O", "b_out", "ln_final.b", "b_U")
        mlps, embeddings = self.total(".mlp"), self.total("embed")
        return {
            "total": self.total(),
            "heads": self.total() - biases - mlps - embeddings,
            "mlps": mlps,
            "embeddings": embeddings,
            "biases": biases,
            "permuted_total": self.total(control=True),
            "lens_accuracy_before_last": float(self.lens_accuracy[-2]),
            "lens_loss_before_last": float(self.lens_loss[-2]),
            "accuracy": float(self.lens_accuracy[-1]),
            "loss": float(self.lens_loss[-1]),
            "largest_part": self.parts[int(self.attribution.argmax())] if self.parts else "none",
        }

    def to_frame(self) -> "pandas.DataFrame":
        """One row for each part, then one for each point of the lens: the other name is empty."""
        import pandas

        parts = {"part": self.parts, "attribution": self.attribution, "error": self.error}
        points = {"point": self.points, "loss": self.lens_loss, "accuracy": self.lens_accuracy}
        frames = [pandas.DataFrame(parts | {"permuted": self.permuted}), pandas.DataFrame(points)]
        frame = pandas.concat([each for each in frames if len(each)], ignore_index=True)
        return frame.fillna({"part": "", "point": ""})

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """What the largest part adds to the right answer, and where the answer can be read off.

        The part is found where it adds, by three standard errors, more than to permuted answers and
        than at the first step. The answer is read off where accuracy exceeds guessing and the first
        step by a twentieth.
        """
        of_first = None
        if isinstance(untrained, LogitAttribution) and untrained.parts == self.parts:
            of_first = untrained
        return (*self._largest(of_first), *self._read_off(of_first))

    def _largest(self, untrained: "LogitAttribution | None") -> tuple[Finding, ...]:
        if not self.parts:
            return ()
        part = int(self.attribution.argmax())
        first = float((untrained.attribution if untrained else self.first_attribution)[part])
        value, error, permuted = (
            float(values[part]) for values in (self.attribution, self.error, self.permuted)
        )
        to = "logits to the right answer" if self.unit == "nats" else "of the right answer's size"
        text = f"{in_words(self.parts[part])} adds {with_error(value, error)} {to} (all parts "
        text += f"{number(self.total())}; permuted answers {permuted:.2g}"
        text += ")" if math.isnan(first) else f", first step {first:.2g})"
        level = max(permuted, 0.0 if math.isnan(first) else first, 0.0)
        strength = "found" if is_larger(value, level, error) else "null"
        return (Finding(sentence(text), strength, "attribution"),)

    def _read_off(self, untrained: "LogitAttribution | None") -> tuple[Finding, ...]:
        """Accuracy before the last part and at the end; nothing where answers are real numbers."""
        before, end = map(float, self.lens_accuracy[-2:])
        if math.isnan(end):
            return ()
        accuracies = untrained.lens_accuracy if untrained else self.first_lens_accuracy
        controls = {"guessing": self.chance, "first step": float(accuracies[-1])}
        known = {name: share for name, share in controls.items() if not math.isnan(share)}
        read = f"accuracy {percent(before)} before the last part, {percent(end)} at the end"
        beside = ", ".join(f"{name} {percent(share)}" for name, share in known.items())
        beside = f" ({beside})" if beside else ""
        level = max(known.values(), default=0.0)
        if end - level <= LEAST_GAIN:
            return (Finding(f"No answer can be read off: {read}{beside}", "not found", "lens"),)
        is_late = end - max(before, level) > LEAST_GAIN
        where = "The last part makes the answer" if is_late else "The answer is read off earlier"
        return (Finding(f"{where}: {read}{beside}", "found", "lens"),)

    def figures(self) -> Mapping[str, Drawing]:
        """What each part adds beside the controls, and what the lens reads between blocks."""
        drawn: dict[str, Drawing] = {"attribution": self._attribution()} if self.parts else {}
        return drawn | {"lens": self._lens()}

    def _attribution(self) -> Figure:
        is_written = (self.attribution != 0) | (self.permuted != 0) | (self.first_attribution > 0)
        names, x = np.array(self.parts)[is_written].tolist(), np.arange(int(is_written.sum()))
        y, error = self.attribution[is_written], self.error[is_written]
        traces = [
            line(np.array([-0.5, len(names) - 0.5]), np.zeros(2), "nothing", NOTHING),
            _crosses(x - 0.1, self.permuted[is_written], "permuted right answers", 1),
            whiskers(x, y, (y - error, y + error), "right answer", 0),
        ]
        if not np.isnan(self.first_attribution).all():
            first = self.first_attribution[is_written]
            traces.append(_crosses(x + 0.1, first, "right answer, first step", 6))
        largest = int(self.attribution.argmax())
        return grid(
            [
                Panel(
                    "",
                    "logit less mean logit" if self.unit == "nats" else "share of answer",
                    traces,
                )
            ],
            title=f"{self.parts[largest]} adds {self.attribution[largest]:.3g} of "
            f"{self.total():.3g} to the right answer; all parts add "
            f"{self.total(control=True):.2g} to permuted ones",
            across="part",
            columns=1,
            xaxis=ticks(names),
        )

    def _lens(self) -> Figure:
        x, ends = np.arange(len(self.points)), np.array([-0.5, len(self.points) - 0.5])
        curves = {
            "accuracy": (self.lens_accuracy, self.first_lens_accuracy),
            f"loss ({self.unit})": (self.lens_loss, self.first_lens_loss),
        }
        panels = []
        for unit, (now, first) in curves.items():
            if np.isnan(now).all():
                continue
            traces = [line(x, now, "this step", stroke(0, 2))]
            if not np.isnan(first).all():
                traces.insert(0, line(x, first, "first step", stroke(6, 2)))
            if unit == "accuracy" and not math.isnan(self.chance):
                traces.append(line(ends, np.full(2, self.chance), "guessing", GUESSING))
            panels.append(Panel("", unit, traces))
        before, after = self.lens_accuracy[-2:] if len(panels) == 2 else self.lens_loss[-2:]
        what = "accuracy" if len(panels) == 2 else "error"
        return grid(
            panels,
            title=f"Read before the last part, {what} is {before:.3f}; at the end {after:.3f}",
            across="stream that is read through the unembedding",
            columns=1,
            xaxis=ticks(self.points),
        )


def scored_activations(snapshot: Snapshot, names: Sequence[str]) -> dict[str, Tensor]:
    """Activations at the scored positions, `[answer, ...]`, in float64; no others are held."""
    scored = snapshot.examples.scored

    def keep(activation: Tensor, rows: slice) -> dict[str, Tensor]:
        chosen = scored[rows].to(activation.device)
        return {"scored": activation[:, -chosen.shape[1] :][chosen].double().cpu()}

    found = stream(
        snapshot, dict.fromkeys(names, keep), combine=lambda parts: torch.cat(list(parts))
    )
    return {name: values["scored"] for name, values in found.items()}


def _check_model(snapshot: Snapshot, *, readout: bool) -> None:
    """Refuses models whose logits are not what an unembedding reads off a sum of parts."""
    cfg = snapshot.live.model.cfg
    if not hasattr(cfg, "norm_position"):
        raise ValueError(
            "LogitAttribution: only a hooks.HookedTransformer has parts that write to one stream"
        )
    if cfg.norm_position == "post" and not readout:
        raise ValueError(
            "LogitAttribution: this model is post-norm, whose stream is normalised after each "
            "addition and no sum of what parts write; readout = true reads it off between blocks "
            "and attributes nothing"
        )


def _written(snapshot: Snapshot) -> list[str]:
    """Hook points of what parts write, and of the final norm's scale."""
    cfg = snapshot.live.model.cfg
    is_placed = cfg.positional_embedding_type in ("standard", "sinusoidal")
    names = ["hook_embed", *(["hook_pos_embed"] if is_placed else [])]
    for layer in range(cfg.n_layers):
        names.append(f"blocks.{layer}.attn.hook_z")
        names += [] if cfg.attn_only else [f"blocks.{layer}.hook_mlp_out"]
    return names + ([] if cfg.normalization_type is None else ["ln_final.hook_scale"])


def _contributions(
    snapshot: Snapshot, streams: Mapping[str, Tensor], answers: Tensor
) -> dict[str, Float[Tensor, " answer"]]:
    """What each part adds at each scored position, for some answers there."""
    W_U, b_U = (
        _of_answers(each, answers, snapshot.examples.facts.outputs)
        for each in (snapshot.weights("W_U"), snapshot.weights("unembed.b_U")[None])
    )
    read = W_U * _norm_weights(snapshot, "w", 1.0)
    if snapshot.config.normalization_type in ("LN", "LNPre"):
        read = read - read.mean(1, keepdim=True)
    if "ln_final.hook_scale" in streams:
        read = read / streams["ln_final.hook_scale"]

    def of_bias(name: str) -> Tensor:
        return read @ snapshot.weights(name).double()

    found = {
        name.removeprefix("hook_"): (streams[name] * read).sum(1)
        for name in ("hook_embed", "hook_pos_embed")
        if name in streams
    }
    for layer in range(snapshot.config.n_layers):
        block = f"blocks.{layer}"
        W_O = snapshot.weights(f"{block}.attn.W_O").double()
        read_by_head = einsum(read, W_O, "answer d, head h d -> answer head h")
        by_head = (streams[f"{block}.attn.hook_z"] * read_by_head).sum(2)
        found |= {f"{layer}.h{head}": values for head, values in enumerate(by_head.unbind(1))}
        found[f"{layer}.b_O"] = of_bias(f"{block}.attn.b_O")
        if f"{block}.hook_mlp_out" in streams:
            bias = of_bias(f"{block}.mlp.b_out")
            found[f"{layer}.mlp"] = (streams[f"{block}.hook_mlp_out"] * read).sum(1) - bias
            found[f"{layer}.b_out"] = bias
    if snapshot.config.normalization_type in ("LN", "LNPre"):
        found["ln_final.b"] = (W_U * _norm_weights(snapshot, "b", 0.0)).sum(1)
    return found | {"b_U": b_U[:, 0]}


def _of_answers(
    unembedding: Float[Tensor, "row class"], answers: Tensor, outputs: int | None
) -> Float[Tensor, "answer row"]:
    """The column of each right class less the mean over classes, spare ones left out.

    Of real numbers y: the only column, times y over the mean of y^2.
    """
    columns = unembedding.double()[:, :outputs]
    if answers.is_floating_point():
        return answers.double()[:, None] * columns[:, 0] / answers.double().square().mean()
    return (columns - columns.mean(1, keepdim=True))[:, answers].T


def _norm_weights(snapshot: Snapshot, name: str, default: float) -> Tensor:
    """Gain or bias of the final norm."""
    has = snapshot.has_weights(f"ln_final.{name}")
    return snapshot.weights(f"ln_final.{name}").double() if has else torch.tensor(default)


def _check_sum(
    parts: Mapping[str, Tensor], logits: Float[Tensor, "answer class"], answers: Tensor
) -> None:
    """Refuses parts that do not sum to the logits, such as where an edit stands between."""
    table = torch.stack(list(parts.values()))
    if answers.is_floating_point():
        wanted = logits[:, 0] * answers.double() / answers.double().square().mean()
    else:
        wanted = logits.gather(1, answers[:, None])[:, 0] - logits.mean(1)
    missed = float((table.sum(0) - wanted).abs().max())
    if missed > SUM_TOLERANCE * float(table.abs().sum(0).max()):
        raise ValueError(
            f"LogitAttribution: parts miss the logits by up to {missed:.2g}: an edit changes the "
            "stream after they have written; take the snapshot without it"
        )


def _means(
    parts: Mapping[str, Tensor], examples: Examples
) -> tuple[Float[np.ndarray, " part"], Float[np.ndarray, " part"]]:
    """The mean of each part and its standard error."""
    if not parts:
        return np.zeros(0), np.zeros(0)
    mean, error = mean_and_error(torch.stack(list(parts.values())), examples)
    return mean.numpy(), error.numpy()


def _points(snapshot: Snapshot) -> dict[str, str]:
    """Hook points of the stream, in order, by the name that the lens gives them."""
    cfg = snapshot.live.model.cfg
    has_middle = not cfg.attn_only and not cfg.parallel_attn_mlp
    names = ["resid_pre 0"]
    for layer in range(cfg.n_layers):
        names += [f"resid_mid {layer}"] * has_middle + [f"resid_post {layer}"]
    return {name: f"blocks.{name.split()[1]}.hook_{name.split()[0]}" for name in names}


def _lenses(
    snapshot: Snapshot, points: Mapping[str, str], lens: str
) -> Iterator[Float[Tensor, "answer class"]]:
    """For each point, the logits that are read off the stream there."""
    scale = ["ln_final.hook_scale"] if snapshot.config.normalization_type else []
    is_frozen = lens == "frozen" and "ln_final.hook_scale" in snapshot.live.model.hook_dict
    streams = scored_activations(snapshot, [*points.values(), *(scale if is_frozen else [])])
    for name in points.values():
        if is_frozen:
            yield _frozen(snapshot, streams[name], streams["ln_final.hook_scale"])
        else:
            yield _own(snapshot, streams[name])


def _own(snapshot: Snapshot, residual: Float[Tensor, "answer d"]) -> Float[Tensor, "answer class"]:
    """The model's own end, run on a stream."""
    live, n_layers = snapshot.live, snapshot.config.n_layers
    batches = residual[:, None].to(live.model.cfg.dtype).split(TOKENS_PER_BATCH)
    with snapshot.running() as model, torch.no_grad():
        parts = [model(each.to(live.device), start_at_layer=n_layers)[:, 0] for each in batches]
    return torch.cat(parts).cpu()[:, : snapshot.examples.facts.outputs]


def _frozen(
    snapshot: Snapshot, residual: Float[Tensor, "answer d"], scale: Float[Tensor, "answer 1"]
) -> Float[Tensor, "answer class"]:
    """A stream divided by the last one's scale, and unembedded."""
    if snapshot.config.normalization_type in ("LN", "LNPre"):
        residual = residual - residual.mean(1, keepdim=True)
    normalized = residual / scale * _norm_weights(snapshot, "w", 1.0)
    normalized = normalized + _norm_weights(snapshot, "b", 0.0)
    logits = normalized @ snapshot.weights("W_U").double()
    logits = logits + snapshot.weights("unembed.b_U").double()
    return logits[:, : snapshot.examples.facts.outputs]


def _crosses(x: np.ndarray, y: np.ndarray, name: str, index: int) -> dict[str, Any]:
    symbol = {"symbol": "x-thin-open" if index == 6 else "cross-thin-open", "size": 9}
    return dots(x, y, name, {"color": PALETTE[index], "line": {"width": 2}} | symbol)
