"""A user's own files, as the templates give them, and small experiments that name them."""

import sys
from pathlib import Path
from typing import Any

import tomli_w

from interp.templates import write_template

MARK = "from pathlib import Path\nPath({!r}).open('a').write('imported ')\n"


def write_files(folder: Path, **task: Any) -> Path:
    """A task, a model and an analysis of the user's own, and `own.toml`; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_template("task", "Largest", "one-answer", folder)
    write_template("model", "BagOfTokens", folder=folder)
    write_template("analysis", "AnswerLead", folder=folder)
    return write_toml(folder / "own.toml", task={"name": "largest.py:Largest"} | task)


def write_toml(path: Path, **tables: Any) -> Path:
    """A small experiment: 4 updates, 2 checkpoints."""
    experiment = {
        "task": {"name": "largest.py:Largest", "n": 2, "base": 4},
        "model": {"kind": "token", "d_model": 8, "n_heads": 2},
        "training": {
            "steps": 4,
            "batch_size": 8,
            "lr": 1e-2,
            "evaluate": {"every": 2},
            "checkpoints": {"every": 4},
        },
    }
    for name, table in tables.items():
        experiment[name] = experiment.get(name, {}) | table
    path.write_text(tomli_w.dumps(experiment), encoding="utf-8")
    return path


def mark_imports(file: Path) -> Path:
    """Makes importing a file visible: the file that is then written."""
    marker = file.with_suffix(".imported")
    docstring, _, code = file.read_text("utf-8").partition("\n")
    file.write_text(f"{docstring}\n{MARK.format(str(marker))}\n{code}", "utf-8")
    return marker


def in_another_process(monkeypatch: Any, state: Path | None = None) -> None:
    """Forgets what this process imported and trusts; with another state folder, all of it."""
    from analyses import ANALYSES

    monkeypatch.setattr("hooks.own_classes._trusted", set())
    monkeypatch.setattr(ANALYSES, "_own", {})
    for name in [*sys.modules]:
        if name.startswith(("largest", "bag_of_tokens", "answer_lead", "ownpackage")):
            monkeypatch.delitem(sys.modules, name)
    if state is not None:
        monkeypatch.setenv("XDG_STATE_HOME", str(state))
