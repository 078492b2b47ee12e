"""A spoilt run folder is refused in one line, or tells the numbers of the folder that was whole.

150 mutations of the files of an analysed run, drawn by seed. After each the folder is read, traced,
analysed, reported and trained on. What is still told must be what the unspoilt run tells, wherever
the experiment's task, model and seeds are the same.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest
from jaxtyping import TypeCheckError

from analyses import WeightNorms
from interp.measure.analyze import analyze, trace
from interp.pages import write_report
from interp.runs.basis import experiment_digest
from interp.runs.current import current_results
from interp.runs.run import Run, load
from interp.training.loop import train
from tests.interp.reliability.spoiling import ON_DISK, at_most

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SECONDS = 120  # all stages take about one
SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed % 15 else []) for seed in range(150)]
SOME = ["WeightNorms", "FourierSpectrum", "GrokkingPhases"]
REFUSALS = (ValueError, TypeError, OSError)

VALUES: list[Any] = [
    None, True, -1, 0, 3.5, 10**30, "", "5", [], [5], {}, {"step": 5}, float("nan"), float("inf"),
]  # fmt: skip
LINES = ["", "{", "null", "[]", "{}", '{"step": 5}', '{"step": 41, "train.loss": 1.0}', "\0\0"]
TOML = [
    ("p = 7", "p = 5"), ("p = 7", 'p = "7"'), ("p = 7", "p = -7"), ("p = 7", "q = 7"),
    ("steps = 40", "steps = 4"), ("steps = 40", "steps = 1e30"), ("data = 0", "data = 1"),
    ("model = 0", "model = true"), ('name = "tiny"', 'name = "../tiny"'), ("[task]", "[tusk]"),
    ("train_fraction = 0.5", "train_fraction = 0.6"), ("train_fraction = 0.5", ""),
    ('operation = "add"', 'operation = "subtract"'), ('operation = "add"', 'operation = "divide"'),
    ("lr = 0.01", "lr = nan"), ("d_model = ", "d_model = 1"), ("[training]", "[training"),
]  # fmt: skip


def any_file(folder: Path, random: Random) -> Path:
    found = (file for file in folder.rglob("*") if ".lease." not in file.name)
    files = sorted(file for file in found if file.is_file() and file.stat().st_size)
    return random.choice(files)


def spoil_a_file(folder: Path, random: Random) -> None:
    ON_DISK[random.choice(sorted(ON_DISK))](any_file(folder, random), random)


def remove_a_file(folder: Path, random: Random) -> None:
    any_file(folder, random).unlink()


def swap_two_files(folder: Path, random: Random) -> None:
    kind = random.choice(["checkpoints/*", "results/*/*/*.npz", "*.*"])
    one, other = random.sample(sorted(file for file in folder.glob(kind) if file.is_file()), 2)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def rename_a_checkpoint(folder: Path, random: Random) -> None:
    names = ["7", "10", "99", "010", "-1", "1e1", "last", "10 (1)"]
    file = random.choice(sorted((folder / "checkpoints").iterdir()))
    file.rename(file.with_name(random.choice(names) + file.suffix))


def change_metrics(folder: Path, random: Random) -> None:
    file = folder / "metrics.jsonl"
    lines = file.read_text("utf-8").splitlines()
    place = random.randrange(len(lines))
    row = json.loads(lines[place])
    row[random.choice(list(row))] = random.choice(VALUES)
    lines = random.choice([
        [*lines[:place], json.dumps(row), *lines[place + 1 :]],
        [*lines[:place], random.choice(LINES), *lines[place:]],
        [*lines, *lines[place:]],
        lines[::-1],
        lines[:place],
        random.sample(lines, len(lines)),
    ])  # fmt: skip
    file.write_text("\n".join(lines) + random.choice(["\n", ""]), "utf-8")


def change_json(folder: Path, random: Random) -> None:
    name = random.choice(["environment.json", "failure.json", "data_files.json"])
    values = [*VALUES, {"reason": None}, {"reason": "why"}, {"reason": ["why"]}]
    text = random.choice([json.dumps(random.choice(values)), "{", "\ufeff{}", "[" * 10**5])
    (folder / name).write_text(text, "utf-8")


def change_the_experiment(folder: Path, random: Random) -> None:
    file, (old, new) = folder / "experiment.toml", random.choice(TOML)
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def put_something_there(folder: Path, random: Random) -> None:
    places = ["checkpoints/5.safetensors", "results/WeightNorms/all-00000000/0.npz", ".lock",
              "results/Nothing/all-00000000/0.npz", "state.safetensors", "checkpoints/x/y",
              "results/WeightNorms/0.npz", ".metrics.jsonl.tmp"]  # fmt: skip
    file = folder / random.choice(places)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(random.choice([b"", b"{}", b"\0" * 99, any_file(folder, random).read_bytes()]))


MUTATIONS: list[Callable[[Path, Random], None]] = [
    spoil_a_file, spoil_a_file, spoil_a_file, remove_a_file, swap_two_files, rename_a_checkpoint,
    change_metrics, change_metrics, change_json, change_the_experiment, put_something_there,
]  # fmt: skip


@pytest.fixture(scope="session")
def whole(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An analysed run, to be spoilt."""
    folder = shutil.copytree(run.path, tmp_path_factory.mktemp("whole") / "run")
    analyze(Run(folder), SOME)
    return Run(folder)


def refused(call: Callable[[], Any]) -> str:
    """Why a stage refuses, in one line; nothing where it is done."""
    try:
        call()
    except REFUSALS as error:
        told = str(error)
        if isinstance(error, TypeCheckError):  # only in tests: the check reads a damaged tensor
            told = told.partition("\n")[0]
    else:
        return ""
    assert told.strip(), "a refusal without a reason"
    assert "\n" not in told, told
    return told


def norms(run: Run) -> pd.DataFrame:
    return trace(run, WeightNorms).set_index("step")


def saved_norms(run: Run) -> pd.DataFrame:
    [found] = current_results(run, ["WeightNorms"])[0]
    rows = [{"step": step} | found.load(step).summary() for step in found.steps]
    return pd.DataFrame(rows).set_index("step")


def check_told(told: pd.DataFrame, right: pd.DataFrame) -> None:
    """Whatever is told of a step is what the unspoilt run tells of it.

    Growth is since the first step that is there.
    """
    steps = [step for step in told.index if step in right.index]
    columns = [name for name in right if told.index[0] == 0 or "growth" not in name]
    pd.testing.assert_frame_equal(
        told.loc[steps, columns], right.loc[steps, columns], check_index_type=False
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_a_spoilt_folder_is_refused_in_a_line_or_tells_the_right_numbers(seed, whole, tmp_path):
    folder, random = shutil.copytree(whole.path, tmp_path / "run"), Random(f"folder {seed}")
    MUTATIONS[seed % len(MUTATIONS)](folder, random)
    right = norms(whole)
    is_same = not refused(
        lambda: (
            None
            if experiment_digest(load(folder).experiment) == experiment_digest(whole.experiment)
            else load("another experiment")
        )
    )
    with at_most(SECONDS):
        refused(lambda: load(folder).snapshot().logits())
        refused(lambda: load(folder).recorded_metrics())
        refused(lambda: load(folder).failure)
        if not refused(lambda: norms(load(folder))) and is_same:
            check_told(norms(load(folder)), right)
        if not refused(lambda: analyze(load(folder), SOME)) and is_same:
            check_told(saved_norms(load(folder)), right)
        refused(lambda: write_report([load(folder)], tmp_path / "report"))
        refused(lambda: train(load(folder).experiment, folder, device="cpu"))


def test_a_number_that_is_wrong_is_noticed_by_this_check(whole):
    right = norms(whole).select_dtypes("number")
    with pytest.raises(AssertionError):
        check_told(right * 1.001, right)
