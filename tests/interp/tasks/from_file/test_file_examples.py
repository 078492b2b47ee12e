"""The task `examples`: sizes, splits, chance and training, all of a file."""

import json
import math
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import interp
from hooks import InputFacts, ModularFacts, Snapshot, build
from interp.config.experiment import Experiment, load_experiment
from interp.importers import import_run
from interp.tasks.from_file.file_examples import FileExamples
from interp.training.loop import train
from tests.foreign import PLAIN, hooked_state
from tests.planted import SUMS, tiny_config

TOML = """
[task]
name = "examples"
file = "data.jsonl"

[model]
d_model = 8
n_heads = 2
d_mlp = 16

[training]
steps = 4
batch_size = 8
evaluate = { every = 2 }
checkpoints = { every = 2 }
"""


@pytest.fixture
def project(tmp_path):
    """A folder with an experiment and its data."""
    shutil.copy(SUMS, tmp_path / "data.jsonl")
    (tmp_path / "mine.toml").write_text(TOML)
    return tmp_path


def rewritten(path, change):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(row)) + "\n" for row in rows))


def sums(**fields: Any) -> FileExamples:
    return FileExamples.model_validate({"file": str(SUMS)} | fields)


def test_sizes_are_those_that_the_data_show():
    assert sums().sizes.model_dump(exclude_none=True) == {
        "d_vocab": 8, "d_vocab_out": 7, "n_ctx": 3,
    }  # fmt: skip


def test_a_model_may_be_larger_than_its_data():
    task = sums(d_vocab=50, d_vocab_out=9, n_ctx=10)
    assert (task.sizes.d_vocab, task.sizes.d_vocab_out, task.sizes.n_ctx) == (50, 9, 10)
    model = build(tiny_config(), task.sizes, seed=0)
    assert Snapshot.of(model, task.examples("all", None, 0)).logits().shape == (49, 3, 9)


@pytest.mark.parametrize(
    ("field", "size", "message"),
    [
        ("d_vocab", 7, "d_vocab is 7, and the examples of .* have 8"),
        ("d_vocab_out", 6, "d_vocab_out is 6, and the examples of .* have 7"),
        ("n_ctx", 2, "n_ctx is 2, and the examples of .* have 3"),
        ("d_in", 2, "d_in is 2, and the examples of .* have none of that kind"),
    ],
)
def test_a_size_that_is_too_small_is_refused(field, size, message):
    with pytest.raises(ValueError, match=message):
        sums(**{field: size}).examples("all", None, 0)


def test_the_vocabulary_says_how_many_tokens_there_are():
    words = tuple("abcdefghij")
    assert sums(known_facts={"vocabulary": list(words)}).sizes.d_vocab == 10


def test_chance_is_the_share_of_the_most_frequent_answer(tmp_path):
    file = tmp_path / "data.npz"
    np.savez(file, tokens=np.zeros((10, 2), int), targets=np.array([3] * 7 + [0, 1, 2]))
    assert FileExamples(file=str(file)).facts.chance == 0.7


def test_a_stated_chance_is_taken():
    assert sums(known_facts={"chance": 0.25}).facts.chance == 0.25


def test_splits_are_those_of_the_file_train_first():
    task = sums()
    assert task.splits == ("all", "train", "test")
    assert task.evaluated == ("train", "test")
    counts = [len(task.examples(split, None, 0)) for split in task.splits]
    assert counts == [49, 28, 21]


def test_a_split_has_its_rows_in_the_order_of_the_file():
    task = sums()
    rows = [json.loads(line) for line in SUMS.read_text().splitlines()]
    trained = [row["tokens"] for row in rows if row["split"] == "train"]
    assert task.examples("train", None, 0).model_inputs.tolist() == trained
    assert task.data(None, torch.Generator())["tokens"].tolist() == trained


def test_a_label_train_makes_the_splits_where_none_are_given(tmp_path):
    file = tmp_path / "data.npz"
    arrays: dict[str, Any] = {"label.train": np.array([True, False, True])}
    np.savez(file, tokens=np.arange(6).reshape(3, 2), targets=np.zeros(3, int), **arrays)
    test = FileExamples(file=str(file)).examples("test", None, 0)
    assert test.model_inputs.tolist() == [[2, 3]]


def test_a_file_without_splits_is_evaluated_whole(tmp_path):
    file = tmp_path / "data.npz"
    np.savez(file, tokens=np.zeros((2, 2), int), targets=np.zeros(2, int))
    task = FileExamples(file=str(file))
    assert (task.splits, task.evaluated, task.train_count) == (("all",), ("all",), None)


def test_answers_at_the_last_position_are_computed_there_alone():
    assert sums().positions == "last"
    assert sums().data(5, torch.Generator())["targets"].shape == (5, 1)


def test_training_reads_the_split_train(project):
    run = train(load_experiment(project / "mine.toml"), project / "run", device="cpu")
    assert run.metrics["step"].tolist() == [0, 2, 4]
    assert {"train.loss", "train.accuracy", "test.loss", "test.accuracy"} <= {*run.metrics}
    scores = run.experiment.task.score(run.snapshot(split="test"))
    assert scores["loss"] == pytest.approx(run.metrics["test.loss"].iloc[-1])


def test_examples_of_several_lengths_train_as_each_alone(tmp_path):
    """Padding changes nothing that a causal model computes at real positions."""
    rows = [{"tokens": [1, 2, 3], "targets": 1, "split": "train"},
            {"tokens": [2, 3], "targets": 0, "split": "train"}]  # fmt: skip
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = FileExamples(file=str(file))
    model = build(tiny_config(), task.sizes, seed=0, dtype="float64")
    logits = Snapshot.of(model, task.examples("all", None, 0)).logits()
    batch = task.data(None, torch.Generator())
    with torch.no_grad():
        alone = [model(torch.tensor([row["tokens"]]))[0, -1] for row in rows]
    losses = [-one.log_softmax(-1)[row["targets"]] for one, row in zip(alone, rows, strict=True)]
    assert float(task.loss(logits, batch)) == pytest.approx(float(sum(losses)) / 2)


def test_a_model_that_is_not_causal_is_refused_padded_examples(project):
    table = {"name": "x", "task": {"name": "examples", "file": str(project / "data.jsonl")},
             "model": {"d_model": 8, "n_heads": 2, "attention_dir": "bidirectional"}}  # fmt: skip
    Experiment.model_validate(table)  # of one length
    rewritten(
        project / "data.jsonl", lambda row: row | {"tokens": row["tokens"][row["label.a"] % 2 :]}
    )
    with pytest.raises(ValidationError, match="padded at the end, and this model is not causal"):
        Experiment.model_validate(table)


def test_a_file_without_training_examples_cannot_be_trained_on(project):
    rewritten(project / "data.jsonl", lambda row: row | {"split": "test"})
    with pytest.raises(ValueError, match=r"has no split 'train' to train on: give each example a"):
        load_experiment(project / "mine.toml")
    assert not (project / "run").exists()


def test_a_fault_of_the_file_is_one_line_that_names_the_experiment_too(project):
    rewritten(project / "data.jsonl", lambda row: row | {"targets": "x"})
    with pytest.raises(ValueError, match=r"\A[^\n]*mine\.toml: .*data\.jsonl:1: targets: [^\n]*\Z"):
        load_experiment(project / "mine.toml")


def test_a_run_notices_that_its_file_has_changed(project):
    run = train(load_experiment(project / "mine.toml"), project / "run", device="cpu")
    rewritten(project / "data.jsonl", lambda row: row | {"targets": 0})
    with pytest.raises(ValueError, match=r"task\.file: .*data\.jsonl has changed since the run"):
        interp.load(run.path).snapshot()
    assert len(interp.load(run.path).weights("embed.W_E")) == 3


def test_real_answers_are_scored_by_squares(tmp_path):
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(20, 3, 2)), rng.normal(size=(20, 3))
    file = tmp_path / "data.npz"
    np.savez(file, inputs=inputs, targets=targets)
    task = FileExamples(file=str(file))
    examples = task.examples("all", None, 0)
    logits = torch.zeros(20, 3, 1, dtype=torch.float64)
    batch = {"inputs": examples.inputs, "targets": examples.targets, "scored": examples.scored}
    grades = task.grade(logits, batch)
    assert float(grades["loss"]) == pytest.approx(np.square(targets).mean())
    assert (float(grades["error"]), float(grades["explained"])) == (1, 0)
    assert set(grades) == set(task.metrics)
    assert math.isnan(task.facts.chance)


def test_real_answers_take_one_output(tmp_path):
    file = tmp_path / "data.npz"
    np.savez(file, inputs=np.zeros((2, 1, 2)), targets=np.zeros(2))
    with pytest.raises(ValueError, match=r"d_vocab_out is 3: real targets take 1 output; where"):
        FileExamples(file=str(file), d_vocab_out=3).examples("all", None, 0)
    table = {"file": str(file), "d_vocab_out": 3, "known_facts": {"outputs": 1}}
    spare = FileExamples.model_validate(table)
    assert spare.sizes.d_vocab_out == 3


def test_stated_facts_are_those_that_analyses_ask_for():
    table = {"modular": {"p": 7, "operation": "add"}, "inputs": {"names": ["a", "b"]}}
    facts = sums(known_facts=table).facts
    assert facts(ModularFacts) == ModularFacts(p=7, operation="add")
    assert facts(InputFacts) == InputFacts(names=("a", "b"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"modular": {"p": "7", "operation": "add"}}, r"modular\.p: .*valid integer"),
        ({"modular": {"p": 7}}, r"modular\.operation: "),
        ({"modulus": {}}, r"modulus: .*; the tables are modular, inputs, prompts"),
        ({"chance": 2.0}, r"chance: .*less than or equal to 1"),
        ({"inputs": {"names": ["a"], "relevant": [True, False]}}, r"relevant: give one for each"),
    ],
)
def test_facts_that_are_none_are_refused(table, message):
    with pytest.raises(ValidationError, match=message):
        sums(known_facts=table)


def test_checkpoints_are_imported_with_a_file_as_their_task(project, save):
    task = project / "task.toml"
    facts = "[known_facts.modular]\np = 7\noperation = 'add'\nwave = 'cos'\nordered_pairs = true\n"
    task.write_text(f'name = "examples"\nfile = "data.jsonl"\n{facts}')
    run = import_run(
        save(hooked_state()), project / "run", task, PLAIN | {"attention_dir": "causal"}
    )
    assert len(run.examples("test")) == 21
    assert interp.analyze(run, ["FourierSpectrum"])[0].measured == 1
