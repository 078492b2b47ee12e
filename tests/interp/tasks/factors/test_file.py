"""Vectors and factors from a file, and prompts whose vectors are looked up batch by batch."""

import os

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from interp.config.experiment import Experiment, load_experiment
from interp.randomness import generator
from interp.tasks.factors.factor_labels import FactorLabels
from interp.training.batches import batch_source, block_source
from interp.training.loop import LoneStepper
from interp.training.stack_step import StackStepper, assembled
from interp.training.state import fresh
from tests.interp.tasks.images import saved

CPU = torch.device("cpu")
DRAWN = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)  # as `saved` has them


def task_of(path, **options):
    return FactorLabels.model_validate({"file": path, "pairs": 4, "test_prompts": 50} | options)


def read(task, count=30, seed=0):
    """Training prompts as a model is given them."""
    return task.reader(CPU)(task.data(count, generator(seed)))


def experiment_of(path, *, phases=None, **options):
    """Three updates on prompts of a file."""
    table = {"name": "factor_labels", "file": path, "pairs": 4, "test_prompts": 20} | options
    training = {"steps": 3, "batch_size": 8, "chunk": 2, "optimizer": "adam", "dtype": "float64"}
    if phases:
        training["schedule"] = [{"steps": 3, "tasks": phases}]
    return Experiment.model_validate(
        {
            "name": "images",
            "task": table,
            "model": {"kind": "read_in", "d_model": 8, "n_heads": 2},
            "training": training,
        }
    )


def test_a_file_brings_vectors_and_factors(tmp_path):
    task = task_of(saved(tmp_path))
    assert (task.values, task.names) == ((3, 2), ("factor_0", "factor_1"))
    assert task.sizes.d_in == 5
    inputs = read(task)["inputs"][:, ::2].reshape(-1, 5)
    assert {tuple(row) for row in inputs.tolist()} <= {tuple(row) for row in DRAWN.tolist()}


def test_a_files_vectors_are_taken_as_they_are(tmp_path):
    small = task_of(saved(tmp_path, embeddings=DRAWN / 100)).examples("test", None, 0)
    assert small.model_inputs[:, ::2].std() < 0.02
    rows = {tuple(row) for row in small.model_inputs[:, ::2].reshape(-1, 5).tolist()}
    assert rows <= {tuple(row) for row in (DRAWN / 100).tolist()}


def test_noise_is_added_where_it_is_asked_for(tmp_path):
    path = saved(tmp_path, embeddings=np.zeros((60, 5)))
    inputs = read(task_of(path, noise=0.5), 300)["inputs"][:, ::2]
    assert inputs.std() == pytest.approx(0.5, abs=0.03)
    assert task_of(path).noise == 0
    assert FactorLabels().noise == 0.1


@pytest.mark.parametrize("noise", [{}, {"noise": 0.1}])
def test_a_task_with_a_file_is_written_whole_and_read_again(noise, tmp_path):
    task = task_of(saved(tmp_path), **noise)
    assert FactorLabels.model_validate(task.model_dump(exclude_none=True)) == task
    (tmp_path / "images.toml").write_text(experiment_of(task.file, **noise).to_toml())
    assert load_experiment(tmp_path / "images.toml").task.model_dump()["noise"] == task.noise


def test_the_vectors_of_a_batch_are_those_of_the_labels(tmp_path):
    task = task_of(saved(tmp_path), maps=1, extra_loss="weights", label_scale=2)
    batch = read(task, 200)
    rows = {tuple(row): index for index, row in enumerate(DRAWN.tolist())}
    images = [rows[tuple(row)] for row in batch["inputs"][:, ::2].reshape(-1, 5).tolist()]
    values = torch.tensor([[each % 3, each // 3 % 2] for each in images])
    assert torch.equal(batch["side"][:, ::2].reshape(-1, 2), values)
    labels = torch.nn.functional.one_hot(batch["targets"][:, ::2], 5) * 2.0
    assert torch.equal(batch["inputs"][:, 1::2], labels)


def test_prompts_are_those_that_were_drawn_with_their_vectors(tmp_path):
    looked_up, held = (read(task_of(saved(tmp_path), noise=noise)) for noise in (0.0, 1e-30))
    assert looked_up.keys() == held.keys()
    assert_close(looked_up, held, rtol=0, atol=1e-20)


def test_a_training_set_holds_no_vectors(tmp_path):
    experiment = experiment_of(saved(tmp_path), train_prompts=40)
    stretch = block_source(experiment, CPU)(0)
    assert all(values.shape[2:] == () for values in stretch.table.values())
    assert stretch.batch(0)["inputs"].shape == (8, 8, 5)
    assert stretch.batch(0).keys() == {"inputs", "targets", "scored"}


@pytest.mark.parametrize("options", [{"train_prompts": 40}, {}])
def test_a_stack_reads_what_a_model_alone_reads(options, tmp_path):
    first = experiment_of(saved(tmp_path), **options)
    members = [first.with_seed(seed) for seed in (0, 1)]
    stepper = StackStepper(assembled(members, [fresh(each) for each in members], CPU))
    stepper.advance(3)
    for index, member in enumerate(members):
        lone = LoneStepper(member, fresh(member), CPU)
        lone.advance(3)
        for name, alone in lone.model.named_parameters():
            together = stepper.stack.parameters[name][index]
            assert_close(together.detach(), alone.detach(), rtol=0, atol=1e-7)  # Adam in float64


def test_a_mixture_is_of_tasks_with_and_without_vectors(tmp_path):
    phases = [{"maps": 1, "noise": 0.5}, {"maps": 2, "train_prompts": 30}]
    batch = batch_source(experiment_of(saved(tmp_path), phases=phases), CPU)(1)
    known = torch.cdist(batch["inputs"][:, ::2], torch.from_numpy(DRAWN)[None]).amin((1, 2)) == 0
    assert batch["inputs"].shape == (8, 8, 5)
    assert 0 < known.sum() < 8


def test_noisy_vectors_that_do_not_fit_are_refused(tmp_path):
    remedy = r"train_prompts: 17\.9 GiB of vectors, over 16: leave it out.*or set noise = 0"
    with pytest.raises(ValidationError, match=remedy):
        task_of(saved(tmp_path), noise=0.1, train_prompts=120_000_000)
    assert task_of(saved(tmp_path), train_prompts=120_000_000).noise == 0


def test_a_file_that_was_written_again_is_read_again(tmp_path):
    path = saved(tmp_path)
    assert task_of(path).values == (3, 2)
    saved(tmp_path, embeddings=DRAWN + 1, factors=np.stack([np.arange(60) % 2] * 3, axis=1))
    os.utime(path, ns=(0, 0))  # clocks of some disks are coarse
    assert task_of(path).values == (2, 2, 2)
    seen = task_of(path).examples("test", None, 0).model_inputs[:, ::2].reshape(-1, 5)
    assert {tuple(row) for row in seen.tolist()} <= {tuple(row) for row in (DRAWN + 1).tolist()}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embeddings": np.zeros((59, 5))}, r"are wanted, got \[59, 5\] and \[60, 2\]"),
        ({"embeddings": np.zeros(60)}, r"are wanted, got \[60\] and \[60, 2\]"),
        ({"embeddings": np.zeros((60, 5), dtype=int)}, "real embeddings and whole factors"),
        ({"factors": np.zeros((60, 2))}, "real embeddings and whole factors"),
        ({"factors": np.zeros((60, 2), dtype=int)}, "factor 0, 1 has a single value"),
        ({"factors": np.full((60, 2), -1)}, "factors hold negative values"),
        ({"factors": np.arange(120).reshape(60, 2) % 3 * 2}, "factor 0 has 3 values .* up to 4: n"),
        ({"embeddings": np.full((60, 5), np.nan)}, "embeddings hold NaN or infinity"),
        ({"embeddings": np.full((60, 5), 1e200)}, "embeddings hold numbers beyond float32: scale"),
        ({"embeddings": np.zeros((60, 2))}, "vectors of 2 numbers, 3 labels: append zeros"),
        ({"embeddings": np.zeros((0, 5)), "factors": np.zeros((0, 2), dtype=int)}, "no images"),
        ({"embeddings": np.array([{"a": 1}] * 60)}, "pickled objects are never loaded; write it"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(arrays, message, tmp_path):
    path = saved(tmp_path, **arrays)
    with pytest.raises(ValidationError, match=rf"file: [^\n]*{message}") as raised:
        task_of(path)
    assert "allow_pickle" not in str(raised.value)


def test_a_file_without_its_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", repre=np.zeros((4, 4)))
    with pytest.raises(ValidationError, match=r"lacks .*it needs embeddings, factors"):
        task_of(str(tmp_path / "other.npz"))


@pytest.mark.parametrize("content", [b"text", b"", b"PK\x03\x04"])
def test_a_file_of_another_format_is_refused(content, tmp_path):
    (tmp_path / "text.npz").write_bytes(content)
    with pytest.raises(ValidationError, match=r"text\.npz cannot be read: an npz of plain arrays"):
        task_of(str(tmp_path / "text.npz"))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValidationError, match=rf"{tmp_path} is a folder: name the file"):
        task_of(str(tmp_path))


def test_a_file_that_is_missing_is_refused():
    with pytest.raises(FileNotFoundError, match=r"data file .*/nowhere\.npz does not exist"):
        task_of("nowhere.npz")
