import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close

from analyses import InContextCurve
from hooks import Snapshot, build
from interp.config.experiment import Experiment
from interp.randomness import generator
from interp.sweeps.sweep import load_sweep
from interp.tasks.factors.prompts import drawn_maps, map_pool
from interp.training.loop import train
from tests.interp.tasks.images import SMALL, shown, task_of
from tests.planted import config_for


def answers_of(batch):
    return batch["targets"][:, ::2]


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


def test_a_pool_of_0_stands_for_maps_drawn_anew():
    zero, none = (task_of(maps=maps) for maps in (0, None))
    assert_close(zero.data(50, generator(0)), none.data(50, generator(0)), rtol=0, atol=0)
    assert zero.examples("test", None, 0).label("map").unique().tolist() == [-1]
    assert zero.facts == none.facts


def test_a_sweep_reaches_maps_drawn_anew(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text('base = "factor-labels"\n[vary]\n"task.maps" = [1, 0]\n')
    tasks = [member.task for member in load_sweep(path).experiments().values()]
    assert [task.model_dump()["maps"] for task in tasks] == [1, 0]
    assert [task.facts.chance for task in tasks] == [0.625, 0.25]


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
    metrics = train(Experiment.model_validate(table), tmp_path / "run", device="cpu").metrics
    assert metrics is not None
    assert {"test.accuracy", "test.late_accuracy", "fresh.late_accuracy"} < set(metrics)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": {"a": 1, "b": 3}}, "factors: a has fewer than 2 values"),
        ({"factors": {}}, "at least 1 item"),
        ({"d": 3}, "d 3 is less than 4 labels"),
        ({"pairs": 6}, "pairs 6 are more than the 5 test images that held_out 0.2 leaves: lower"),
        ({"held_out": 0.9}, "pairs 4 are more than the 2 training images that held_out 0.9 leaves"),
        ({"pairs": 25, "held_out": 0}, "pairs 25 are more than the 24 images there are: lower"),
        ({"repeats": True, "held_out": 0.999}, "held_out 0.999 leaves no training images: lower"),
        ({"repeats": True, "held_out": 0.001}, "held_out 0.001 leaves no test images: raise it"),
        ({"maps": -1}, "maps"),
        ({"maps": 10**11}, "maps 100000000000 are more than 8333333: lower it, or 0 draws them"),
        ({"factors": {"a": 10**5, "b": 10**5}, "d": 10**5}, "factors make 10000000000 images"),
        ({"train_prompts": 10**8}, "train_prompts: 23.8 GiB of vectors, over 16: leave it out"),
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
