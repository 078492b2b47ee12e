import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

from analyses import InContextCurve
from hooks import Snapshot, build
from interp.experiment import Experiment
from interp.randomness import generator
from interp.tasks.factor_images import drawn_maps, map_pool, random_network, unravelled
from interp.tasks.factor_labels import FactorLabels
from interp.train import train
from tests.planted import config_for

SMALL = {"factors": {"hue": 4, "shape": 3, "size": 2}, "pairs": 4, "d": 8, "test_prompts": 300}


def task_of(**options):
    return FactorLabels.model_validate(SMALL | options)


def answers_of(batch):
    return batch["targets"][:, ::2]


def shown(task, batch):
    """Values of the factors of the images in noiseless prompts, by their vectors."""
    every = unravelled(torch.arange(24), task.values)
    network = random_network(task.values, task.d, task.difficulty, task.seed)
    distances = torch.cdist(batch["inputs"][:, ::2], network.embed(every)[None])
    assert distances.amin(2).max() < 1e-2  # each is one of them
    return every[distances.argmin(2)]


def saved(tmp_path, **arrays):
    path = tmp_path / "images.npz"
    every = np.stack([np.arange(60) % 3, np.arange(60) // 3 % 2], axis=1)
    drawn = np.random.default_rng(0).normal(size=(60, 5))
    np.savez(path, **{"embeddings": drawn, "factors": every} | arrays)
    return str(path)


def test_a_prompt_is_images_and_labels_by_turns():
    batch = task_of(label_scale=3).data(50, generator(0))
    labels = torch.nn.functional.one_hot(answers_of(batch), 8) * 3.0
    assert torch.equal(batch["inputs"][:, 1::2], labels)
    assert batch["scored"].tolist() == [[True, False] * 4] * 50


def test_labels_are_the_asked_factor_under_one_map():
    task = task_of(noise=0.0)
    examples = task.examples("fresh", None, 0)
    factors = shown(task, {"inputs": examples.model_inputs})
    answers, asked = examples.targets[:, ::2], examples.label("factor")
    values = factors[torch.arange(300), :, asked]
    same_value = values[:, :, None] == values[:, None, :]
    assert torch.equal(answers[:, :, None] == answers[:, None, :], same_value)


def test_labels_are_below_the_number_of_values():
    examples = task_of().examples("test", None, 0)
    most = torch.tensor([4, 3, 2])[examples.label("factor")]
    assert (examples.targets < most[:, None]).all()


def test_a_single_map_fixes_the_label_of_each_value():
    task = task_of(maps=1, noise=0.0)
    examples = task.examples("test", None, 0)
    factors = shown(task, {"inputs": examples.model_inputs})
    pool = map_pool(task.values, 1, task.seed)[0]
    asked = examples.label("factor")
    expected = pool[asked[:, None], factors[torch.arange(300), :, asked]]
    assert torch.equal(examples.targets[:, ::2], expected)


def test_training_and_test_share_the_pool_and_fresh_does_not():
    task = task_of(maps=5)
    assert task.examples("test", None, 0).label("map").unique().tolist() == [0, 1, 2, 3, 4]
    assert task.examples("fresh", None, 0).label("map").unique().tolist() == [-1]


def test_maps_are_permutations_of_each_factors_values():
    pool = drawn_maps((4, 3), 500, generator(0))
    assert torch.equal(pool[:, 0].sort(1).values, torch.arange(4).expand(500, 4))
    assert torch.equal(pool[:, 1, :3].sort(1).values, torch.arange(3).expand(500, 3))
    counts = torch.bincount(pool[:, 1, 0], minlength=3)
    assert counts.tolist() == pytest.approx([500 / 3] * 3, abs=40)  # 3.8 deviations


def test_held_out_images_are_never_trained_on():
    task = task_of(noise=0.0)
    trained = shown(task, task.data(400, generator(0))).reshape(-1, 3)
    tested = shown(task, {"inputs": task.examples("test", None, 0).model_inputs}).reshape(-1, 3)
    kinds = [{tuple(row) for row in each.tolist()} for each in (trained, tested)]
    assert [len(each) for each in kinds] == [19, 5]
    assert not kinds[0] & kinds[1]


def test_a_file_is_written_with_defaults_and_read_again(tmp_path):
    task = FactorLabels(file=saved(tmp_path), pairs=4)
    assert FactorLabels.model_validate(task.model_dump(exclude_none=True)) == task


@pytest.mark.parametrize("factors", [{"a": 4, "b": 3, "c": 2}, {"a": 15, "b": 15}])
def test_no_image_comes_twice_in_a_prompt(factors):
    task = task_of(factors=factors, noise=0.0, d=16)
    first = task.data(500, generator(0))["inputs"][:, ::2]
    distances = torch.cdist(first, first) + 9 * torch.eye(4)
    assert distances.min() > 1e-4


def test_repeats_let_more_pairs_than_images():
    task = task_of(factors={"a": 2, "b": 2}, repeats=True, held_out=0, pairs=12)
    assert task.data(5, generator(0))["inputs"].shape == (5, 24, 8)


def readable(difficulty):
    """Share of held-out images whose first factor a linear map reads off the vector."""
    options = {"factors": {"a": 4, "b": 4, "c": 4}, "d": 16, "test_prompts": 1000, "held_out": 0}
    drawn = task_of(difficulty=difficulty, **options).examples("fresh", None, 0)
    x, y = drawn.model_inputs[:, -2].numpy(), drawn.label("a").numpy()
    return LogisticRegression(max_iter=2000).fit(x[:600], y[:600]).score(x[600:], y[600:])


def test_difficulty_goes_from_readable_to_hard():
    assert readable(0.1) > 0.97
    assert readable(2.0) < 0.8


def test_vectors_have_mean_zero_and_variance_one():
    inputs = task_of(noise=0.0, held_out=0).data(3000, generator(0))["inputs"][:, ::2]
    assert inputs.mean((0, 1)).abs().max() < 0.1
    assert (inputs.std((0, 1)) - 1).abs().max() < 0.1


def test_chance_is_the_best_without_context():
    examples = task_of(test_prompts=8000).examples("fresh", None, 0)
    share = (examples.targets[:, ::2] == 0).double().mean()
    assert task_of().constants["chance"] == pytest.approx((1 / 4 + 1 / 3 + 1 / 2) / 3)
    assert share == pytest.approx(task_of().constants["chance"], abs=0.02)


def test_labels_name_the_factors_of_the_last_image():
    task = task_of(noise=0.0)
    examples = task.examples("test", None, 0)
    factors = shown(task, {"inputs": examples.model_inputs})[:, -1]
    found = torch.stack([examples.label(name) for name in ("hue", "shape", "size")], dim=1)
    assert torch.equal(found, factors)


def test_the_world_is_the_tasks_own_whatever_the_data_seed():
    one, two = (task_of(maps=1, noise=0.0).examples("test", None, seed) for seed in (0, 1))
    assert not torch.equal(one.model_inputs, two.model_inputs)
    seen = [set(map(tuple, each.model_inputs[:, 0].tolist())) for each in (one, two)]
    assert seen[0] == seen[1]  # the five held-out images


def test_a_fixed_training_set_is_drawn_whole():
    task = task_of(train_prompts=30)
    assert (task.train_count, task.draws_split) == (30, True)
    assert len(task.data(None, generator(0))["targets"]) == 30


def test_the_curve_of_a_model_is_grouped_by_factor():
    task = task_of()
    snapshot = Snapshot.of(
        build(config_for(task.sizes), task.sizes, seed=0), task.examples("test", None, 0)
    )
    result = InContextCurve.measure(snapshot)
    assert result.groups == ("hue", "shape", "size")
    assert result.curves == ("model", "most_frequent")


@pytest.mark.parametrize("train_prompts", [None, 20])
def test_it_can_be_trained_on(train_prompts, tmp_path):
    table = {
        "name": "images",
        "task": {"name": "factor_labels", "train_prompts": train_prompts} | SMALL,
        "model": {"kind": "read_in", "d_model": 8, "n_heads": 2},
        "training": {"steps": 4, "batch_size": 8, "chunk": 2, "evaluate": {"every": 4}},
    }
    metrics = train(Experiment.model_validate(table), tmp_path / "run", device="cpu").metrics()
    assert metrics is not None
    assert {"test.accuracy", "test.late_accuracy", "fresh.late_accuracy"} < set(metrics)


def test_a_file_brings_vectors_and_factors(tmp_path):
    task = FactorLabels(file=saved(tmp_path), pairs=4, noise=0.0)
    assert (task.values, task.names, task.width) == ((3, 2), ("factor_0", "factor_1"), 5)
    drawn = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    inputs = task.data(30, generator(0))["inputs"][:, ::2].reshape(-1, 5)
    assert {tuple(row) for row in inputs.tolist()} <= {tuple(row) for row in drawn.tolist()}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embeddings": np.zeros((59, 5))}, r"are wanted, got \[59, 5\] and \[60, 2\]"),
        ({"embeddings": np.zeros(60)}, r"are wanted, got \[60\] and \[60, 2\]"),
        ({"embeddings": np.zeros((60, 5), dtype=int)}, "real embeddings and whole factors"),
        ({"factors": np.zeros((60, 2))}, "real embeddings and whole factors"),
        ({"factors": np.zeros((60, 2), dtype=int)}, "factor 0, 1 has a single value"),
        ({"factors": np.full((60, 2), -1)}, "factors hold negative values"),
        ({"embeddings": np.full((60, 5), np.nan)}, "embeddings hold NaN or infinity"),
        ({"embeddings": np.zeros((0, 5)), "factors": np.zeros((0, 2), dtype=int)}, "no images"),
        ({"embeddings": np.array([{"a": 1}] * 60)}, r"no npz of plain arrays \(Object arrays"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(arrays, message, tmp_path):
    path = saved(tmp_path, **arrays)
    with pytest.raises(ValidationError, match=rf"file: {path}[^\n]*{message}"):
        FactorLabels(file=path, pairs=4)


def test_a_file_without_its_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", repre=np.zeros((4, 4)))
    with pytest.raises(ValidationError, match=r"lacks .*it needs embeddings, factors"):
        FactorLabels(file=str(tmp_path / "other.npz"))


def test_a_file_of_another_format_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(ValidationError, match="no npz of plain arrays"):
        FactorLabels(file=str(tmp_path / "text.npz"))


def test_a_file_that_is_missing_is_refused():
    with pytest.raises(FileNotFoundError, match=r"file: nowhere\.npz does not exist"):
        FactorLabels(file="nowhere.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": {"a": 1, "b": 3}}, "factors: a has fewer than 2 values"),
        ({"factors": {}}, "at least 1 item"),
        ({"d": 3}, "d 3 is less than 4 labels"),
        ({"pairs": 6}, "pairs 6 are more than 5 images: set repeats = true"),
        ({"maps": 0}, "maps"),
        ({"difficulty": 0}, "difficulty"),
        ({"held_out": 1}, "held_out"),
        ({"file": "x.npz"}, "file brings its own factors and vectors"),
    ],
)
def test_options_that_are_wrong_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        task_of(**options)


def test_endless_data_without_a_count_are_refused():
    with pytest.raises(ValueError, match="draws without end"):
        task_of().data(None, generator(0))
