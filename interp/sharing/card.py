"""The model card of a run: settings, last metrics and the scalars of current results, as markdown.

A card begins with YAML that the Hub reads. The license is left to the owner: what else stands in a
card, its YAML and its text outside of two marks, stays as it is when the run is pushed again.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from hooks.own_classes import short_name
from interp.runs import HubAddress, Run, Saved, as_table, headlines_of
from interp.training.trackers import settings_of

BEGIN, END = "<!-- interp: begin -->", "<!-- interp: end -->"
FRONT_MATTER = re.compile(r"\A---\r?\n(?P<yaml>.*?)\r?\n---\r?\n?", re.DOTALL)
OURS = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
MAX_LETTERS = 80  # of a setting or value

Rows = Sequence[Sequence[str]]


def model_card(
    run: Run, address: HubAddress, results: Sequence[Saved], missing: Sequence[str]
) -> str:
    """The part of a card that is made from a run, between its two marks.

    Args:
        run: The run.
        address: Where it is shared.
        results: Its current results, which are shared with it.
        missing: Names of the data files that are not.
    """
    parts = [
        f"# {_cell(address.name)}",
        _about(run),
        _use(address, missing),
        *_found(results),
        "## Settings",
        _table(("setting", "value"), _settings(run)),
        *_metrics(run),
        *_scalars(results),
    ]
    return f"{BEGIN}\n" + "\n\n".join(part for part in parts if part) + f"\n\n{END}\n"


def merged(card: str, earlier: str) -> str:
    """A whole card: the YAML that the Hub needs, and what is not ours in an earlier card.

    Raises:
        ValueError: The earlier card's YAML is damaged.
    """
    import yaml  # a need of the Hub's client

    match = FRONT_MATTER.match(earlier)
    try:
        data = (yaml.safe_load(match["yaml"]) or {}) if match else {}
    except yaml.YAMLError:
        data = None
    if not isinstance(data, dict):
        raise ValueError("the repository's README.md begins with damaged YAML: mend it there")
    tags = data.get("tags") or []
    data["library_name"] = "interp"
    data["tags"] = list(dict.fromkeys([*(tags if isinstance(tags, list) else [tags]), "interp"]))
    text = earlier[match.end() :] if match else earlier
    if OURS.search(text):
        text = OURS.sub(lambda _: card.strip(), text)
    else:
        text = "\n\n".join(part for part in (text.strip(), card) if part)
    head = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n{text.strip()}\n"


def _about(run: Run) -> str:
    """What the run is, in a sentence or two."""
    experiment = run.experiment
    file = run.path / "environment.json"
    made = (as_table(file.read_bytes()) or {}) if file.is_file() else {}
    versions = [f"{name} {made[name]}" for name in ("interp", "torch") if made.get(name)]
    by = f", made with {' and '.join(versions)}" if versions else ""
    failure = f"\n\nTraining could not be finished: {_cell(run.failure)}" if run.failure else ""
    task, kind = (
        short_name(name).replace("_", " ") for name in (experiment.task.name, experiment.model.kind)
    )
    return (
        f"A run of interp: task {_cell(task)}, model of kind {_cell(kind)}, checkpoints of "
        f"{run.extent}{by}.{failure}"
    )


def _use(address: HubAddress, missing: Sequence[str]) -> str:
    """How to read the run in Python, and what is needed beside it."""
    lines = [
        "```python",
        "import interp",
        "",
        f'run = interp.load("{address}")',
        "run.parameters(run.steps[-1])  # of the last checkpoint, by HookedTransformer's names",
        "run.recorded_metrics()  # by step",
        "```",
    ]
    if missing:
        lines += [
            "",
            "The task reads files that are not in this repository, and are looked for in the run's "
            f"folder: {', '.join(f'`{name}`' for name in missing)}.",
        ]
    return "\n".join(lines)


def _settings(run: Run) -> Rows:
    return [
        (name, _shown(value))
        for name, value in settings_of(run.experiment).items()
        if value not in ("[]", "{}", "")
    ]


def _metrics(run: Run) -> Iterator[str]:
    recorded = run.recorded_metrics()
    if recorded is None:
        return
    last = recorded.iloc[-1].dropna().to_dict()
    yield f"## Metrics at step {_shown(last.pop('step'))}"
    yield "Losses are in nats, accuracies fractions."
    yield _table(("metric", "value"), [(name, _shown(value)) for name, value in last.items()])


def _found(results: Sequence[Saved]) -> Iterator[str]:
    """What was found, a line a finding."""
    said = headlines_of(results)
    if said:
        yield "## What was found"
        yield "\n".join(f"- {_cell(finding.text)}." for finding in said)


def _scalars(results: Sequence[Saved]) -> Iterator[str]:
    """The summary of each result at its last step, without those that have none."""
    rows = [
        (saved.name, place, measure.replace("_", " "), _shown(value))
        for saved in results
        for place in [_place(saved)]
        for measure, value in saved.load().summary().items()
    ]
    if rows:
        yield "## Results"
        yield _table(("analysis", "measured", "measure", "value"), rows)


def _place(saved: Saved) -> str:
    """On what a result was measured, with which options."""
    options = ", ".join(f"{name} {_shown(value)}" for name, value in saved.options.items())
    where = f"{saved.split}, step {saved.steps[-1]}" if saved.steps else "the whole run"
    return f"{where}; {options}" if options else where


def _shown(value: Any) -> str:
    """A setting or a number in short; a dash where a number is undefined."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    text = str(value)
    return text if len(text) <= MAX_LETTERS else f"{text[: MAX_LETTERS - 2]}.."


def _table(head: Sequence[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """A text as a cell: in one line, and nothing in it markup."""
    plain = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", plain)
