"""The three kinds of result, and what they share.

A result is a frozen dataclass named for the finding: arrays, numbers and strings. It is measured
once, summarised in scalars, laid out as a frame and drawn from what it holds. A `Result` is of one
snapshot, a `SeriesResult` of a whole run, a `SweepResult` of many runs; they are measured in that
order, so that a later kind may read an earlier one's saved scalars.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from html import escape
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from analyses.axes import Coordinates, dataset_of, frame_of
from analyses.findings import Finding
from analyses.plots.figures import Figure
from analyses.plots.views import View
from analyses.requirements import Needs, check_needs, pairs_for, takes_pairs
from hooks import Checkpoints, Pairs, Snapshot
from hooks.messages import did_you_mean

if TYPE_CHECKING:
    import pandas
    import xarray

SCALARS_SHOWN = 3  # scalars of the summary that a printed result shows
TEXT_SHOWN = 60  # characters of a text that a printed summary shows

Drawing = Figure | View


class Drawings(Mapping[str, Drawing]):
    """Figures by slug, each drawn only when it is asked for: a page shows few of many steps."""

    def __init__(self, **draw: Callable[[], Drawing]) -> None:
        self._draw = draw

    def __getitem__(self, slug: str) -> Drawing:
        return self._draw[slug]()

    def __contains__(self, slug: object) -> bool:
        return slug in self._draw  # the mixin's would draw to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._draw)

    def __len__(self) -> int:
        return len(self._draw)


@dataclass(frozen=True, eq=False)
class BaseResult(ABC):
    """What the three kinds share: how a result is summarised, tabulated and drawn.

    Attributes:
        needs: What must be there for it to be measured.
        by_default: What must be there too where `interp analyze` is not asked for the analysis by
            name or options: without that it would be costly and tell little, or needs options.
        title: What people call it, if that differs from the words of the class's name.
        coordinates: What stands along an axis of its arrays: values, or the name of an attribute.
            It is needed if no attribute has the axis' name or its plural (`analyses.axes`).
        rows: The axes that a row of `to_frame` is for; by default those of the first array.
        columns: What `to_frame` shows: a field or property by the name of its column; by default
            every array without other axes.
    """

    needs: ClassVar[Needs] = Needs()
    by_default: ClassVar[Needs] = Needs()
    title: ClassVar[str] = ""
    coordinates: ClassVar[Coordinates] = {}
    rows: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def summary(self) -> dict[str, float | str]:
        """The scalars worth a line in a table; never infinite."""

    def to_frame(self) -> "pandas.DataFrame":
        """The result as a tidy table: a row for each place of the axes `rows`."""
        return frame_of(self)

    def to_xarray(self) -> "xarray.Dataset":
        """Every array with names and coordinates of its axes; numbers and text as attributes.

        Raises:
            ImportError: xarray is not installed.
        """
        return dataset_of(self)

    def findings(self, untrained: "BaseResult | None" = None) -> tuple[Finding, ...]:
        """What it says in sentences, each with its control; the most important first.

        Args:
            untrained: The same analysis at step 0, where there is one: the control of what a
                result of a trained model cannot tell by itself.
        """
        return ()

    @abstractmethod
    def figures(self) -> Mapping[str, Drawing]:
        """Figures by slug, drawn from stored numbers; their titles say what is seen."""

    def plot(self, slug: str | None = None) -> Drawing:
        """One of the figures.

        Args:
            slug: Its name among `figures`; by default the first.

        Raises:
            ValueError: There is none of that name.
        """
        figures = self.figures()
        if slug is None:
            return next(iter(figures.values()))
        if slug not in figures:
            raise ValueError(
                f"{type(self).__name__} has no figure '{slug}'; there are {', '.join(figures)}"
                f"{did_you_mean(slug, figures)}"
            )
        return figures[slug]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__repr__ = BaseResult.__repr__  # dataclass would write one that prints every array
        if "measure" in vars(cls):
            cls.measure = classmethod(_refusing(vars(cls)["measure"].__func__))  # pyright: ignore[reportAttributeAccessIssue]  # every kind of result has it

    @classmethod
    def _measurable(cls, given: Any) -> Any:
        """What `measure` gets in place of its first argument.

        Raises:
            TypeError: The argument is for another kind of result; the message says what to give.
            ValueError: It lacks something that the analysis needs.
        """
        return given

    def __repr__(self) -> str:
        shown = [f"{name}={_in_short(value)}" for name, value in self.summary().items()]
        said = [f": {finding.text}" for finding in self.findings()[:1]]
        return "".join([f"{type(self).__name__}({', '.join(shown[:SCALARS_SHOWN])})", *said])

    def _repr_html_(self) -> str:
        """Its title, findings, summary and the names of its figures, for a notebook."""
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(_in_short(value))}</td></tr>"
            for name, value in self.summary().items()
        )
        heading = escape(self.title or readable(type(self).__name__))
        slugs = ", ".join(f"<code>{escape(slug)}</code>" for slug in self.figures())
        said = "".join(f"<p>{escape(finding.text)}.</p>" for finding in self.findings())
        figures = f"<p>Figures, as <code>plot(slug)</code>: {slugs}"
        return f"<b>{heading}</b>{said}<table>{rows}</table>{figures}"


def readable(name: str) -> str:
    """A class name as words: `FourierSpectrum` is `Fourier spectrum`."""
    first, *rest = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|[0-9]+", name) or [name]
    return " ".join([first, *(word if word.isupper() else word.lower() for word in rest)])


def _in_short(value: float | str) -> str:
    """A scalar of a summary, a long text cut."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= TEXT_SHOWN else f"{text[: TEXT_SHOWN - 3]}..."


def _refusing(measure: Callable[..., Any]) -> Callable[..., Any]:
    """A `measure` that refuses a first argument of another kind, and says what to give instead."""
    _, first, *_ = signature(measure).parameters

    @wraps(measure)
    def measured(cls: type[BaseResult], *given: Any, **options: Any) -> Any:
        if given:
            given = (cls._measurable(given[0]), *given[1:])
        elif first in options:
            options[first] = cls._measurable(options[first])
        if takes_pairs(cls) and not isinstance(options.get("pairs"), Pairs):
            raise TypeError(
                f"{cls.__name__} takes pairs of inputs: give pairs=run.input_pairs(split, count), "
                "or pairs=Pairs.of(clean, corrupted)"
            )
        return measure(cls, *given, **options)

    return measured


@dataclass(frozen=True, eq=False)
class Result(BaseResult):
    """A finding about one snapshot.

    Attributes:
        splits: Splits of the task it is measured on; none stands for the task's own.
        count: How many examples it takes; None for all.
        reference: The step whose result every other step is measured against, if there is one:
            `measure` then takes that result as `reference`, which is None at the step itself.
        sliding: Figures that get a slider over steps.
        always_needed: Whether `needs` must be there whatever the options; otherwise `measure`
            checks them.
    """

    splits: ClassVar[tuple[str | None, ...]] = (None,)
    count: ClassVar[int | None] = None
    reference: ClassVar[Literal["first", "last"] | None] = None
    sliding: ClassVar[tuple[str, ...]] = ()
    always_needed: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def measure(cls, snapshot: Snapshot) -> "Result":
        """Measures one snapshot.

        Args:
            snapshot: A model at a step and its examples.

        Raises:
            ValueError: The snapshot lacks something the analysis needs.
        """

    @classmethod
    def _measurable(cls, given: Any) -> Any:
        if not isinstance(given, Snapshot):
            raise TypeError(
                f"{cls.__name__} measures one step: give run.snapshot(), or run.snapshot(step, "
                f"split); got {given!r}"
            )
        if cls.always_needed:
            check_needs(cls, given)
        return given

    @classmethod
    def reference_step(cls, steps: Sequence[int]) -> int | None:
        """Which of a run's steps every other is measured against, or None."""
        return {"first": steps[0], "last": steps[-1], None: None}[cls.reference]


@dataclass(frozen=True, eq=False)
class PairsResult(Result):
    """A finding about one snapshot on pairs of inputs.

    Attributes:
        n_pairs: How many pairs it takes.
    """

    n_pairs: ClassVar[int] = 128

    @classmethod
    @abstractmethod
    def measure(  # pyright: ignore[reportIncompatibleMethodOverride]  # there is nothing without pairs
        cls, snapshot: Snapshot, *, pairs: Pairs, control: Pairs | None = None
    ) -> "PairsResult":
        """Measures one snapshot.

        Args:
            snapshot: A model at a step; its examples do not matter.
            pairs: Inputs, each beside a corrupted one.
            control: The same, where the right answer stays; None if there are no such pairs.

        Raises:
            ValueError: The snapshot lacks something the analysis needs.
        """


@dataclass(frozen=True, eq=False)
class SeriesResult(BaseResult):
    """A finding about a whole run.

    Attributes:
        reads: Analyses whose saved scalars it reads.
    """

    reads: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def measure(cls, series: Checkpoints) -> "SeriesResult":
        """Measures a run."""

    @classmethod
    def _measurable(cls, given: Any) -> Any:
        if not isinstance(given, Checkpoints):
            raise TypeError(f"{cls.__name__} measures a whole run: give the run; got {given!r}")
        # Training may still write to the run's folder: its steps must not change meanwhile.
        series = given.series()
        if series.steps and not cls.needs.are_of_metrics:
            check_needs(cls, series.snapshot(count=1))
        return series

    def marks(self) -> dict[str, float]:
        """Steps worth a line across every curve of the run, by label."""
        return {}


@dataclass(frozen=True, eq=False)
class SweepResult(BaseResult):
    """A finding about many runs."""

    @classmethod
    @abstractmethod
    def measure(
        cls, table: "pandas.DataFrame", series: Mapping[str, Checkpoints], *, axes: Sequence[str]
    ) -> "SweepResult":
        """Measures a sweep.

        Args:
            table: One row for each run: `run` and `failure` (empty unless it failed),
                `experiment.<field>`, `metrics.<column>` at the last evaluation, and
                `<Analysis>.<scalar>` of the analyses it needs.
            series: The runs by name, read when asked for.
            axes: The fields that vary, seeds left out.
        """

    @classmethod
    def _measurable(cls, given: Any) -> Any:
        import pandas

        if not isinstance(given, pandas.DataFrame):
            raise TypeError(
                f"{cls.__name__} measures a whole sweep: interp.analyze_sweep(folder) does that, "
                f"or its measure takes interp.sweep_table's table and the runs; got {given!r}"
            )
        return given


Analysis = type[Result] | type[SeriesResult] | type[SweepResult]


def of_steps(cls: object) -> type[Result]:
    """The class, if its results are of single steps.

    Raises:
        TypeError: It is no analysis.
        ValueError: It describes a whole run, or a sweep.
    """
    if not (isinstance(cls, type) and issubclass(cls, BaseResult)):
        raise TypeError(f"a trace takes a class of results, such as FourierSpectrum; got {cls!r}")
    if issubclass(cls, SweepResult):
        raise ValueError(f"{cls.__name__} describes a whole sweep, which has no steps to trace")
    if not issubclass(cls, Result):
        raise ValueError(f"{cls.__name__} describes a whole run: call its measure(run)")
    return cls


def trace(series: Checkpoints, cls: type[BaseResult], **options: Any) -> "pandas.DataFrame":
    """An analysis' scalars at every step of some checkpoints, measured in memory.

    Returns:
        One row for each step: `step`, then the summary's columns.

    Raises:
        TypeError: `cls` is no analysis.
        ValueError: It describes a whole run or sweep, or there are no steps.
    """
    import pandas

    cls = of_steps(cls)
    if not series.steps:
        raise ValueError("there are no steps: no checkpoint was kept")
    split = cls.splits[0]
    examples = series.examples(split, cls.count)
    if issubclass(cls, PairsResult):
        change = options.pop("change", "")
        draw = partial(series.input_pairs, split, cls.n_pairs)
        options |= pairs_for(cls, series.changes, draw, change)
    reference_step, reference = cls.reference_step(series.steps), {}
    if reference_step is not None:
        reference = {"reference": cls.measure(series.snapshot(reference_step, examples), **options)}
    return pandas.DataFrame(
        {"step": snapshot.step}
        | cls.measure(
            snapshot, **({} if snapshot.step == reference_step else reference), **options
        ).summary()
        for snapshot in series.snapshots(examples)
    )
