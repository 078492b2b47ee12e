"""What can be told of a label without examples."""

import math
from collections import Counter

import pytest

import interp
from analyses import LearningPlateau
from interp.config.experiment import Experiment
from interp.tasks.factors.factor_labels import FactorLabels
from interp.tasks.factors.images import Share, images_of_network
from interp.tasks.factors.prompts import best_guess, map_pool
from tests.interp.tasks.images import SMALL, saved, task_of

ANEW = (1 / 4 + 1 / 3 + 1 / 2) / 3


def images_seen(task):
    """Factors of the last image of every test prompt."""
    examples = task.examples("test", None, 0)
    return list(zip(*(examples.label(name).tolist() for name in task.names), strict=True))


def enumerated(task, maps):
    """The best accuracy from an image alone, by counting labels of each image that tests show."""
    pool, shown, shares = (
        map_pool(task.values, maps, task.seed).tolist(),
        set(images_seen(task)),
        [],
    )
    for image in shown:
        labels = Counter(
            applied[factor][value] for applied in pool for factor, value in enumerate(image)
        )
        shares.append(max(labels.values()) / labels.total())
    return sum(shares) / len(shares)


@pytest.mark.parametrize("maps", [1, 2, 7, 300])
@pytest.mark.parametrize("options", [{}, {"held_out": 0.5, "seed": 3}])
def test_chance_is_the_best_guess_from_an_image_alone(maps, options):
    task = task_of(maps=maps, **options)
    assert task.facts.chance == pytest.approx(enumerated(task, maps), rel=1e-12)


@pytest.mark.parametrize("maps", [1, 5])
def test_a_files_images_count_as_often_as_they_are_there(maps, tmp_path):
    task = FactorLabels(file=saved(tmp_path), pairs=4, held_out=0, maps=maps)
    assert task.facts.chance == pytest.approx(enumerated(task, maps), rel=1e-12)


def test_the_commonest_label_of_each_image_is_right_as_often_as_chance_says():
    task = task_of(maps=3, test_prompts=8000)
    answers = task.examples("test", None, 0).targets[:, -2].tolist()
    seen = Counter(zip(images_seen(task), answers, strict=True))
    best = sum(
        max(count for (image, _), count in seen.items() if image == each)
        for each in {image for image, _ in seen}
    )
    assert best / 8000 == pytest.approx(task.chance("test"), abs=0.02)  # 3.6 deviations


def test_with_one_map_it_is_a_half_and_what_agrees_by_chance():
    """Two permutations of 4 agree at 4 of 16 images."""
    task = task_of(factors={"hue": 4, "shape": 4}, held_out=0, maps=1)
    assert task.chance("test") == (4 + 12 / 2) / 16


def test_on_maps_drawn_anew_it_is_that_of_a_constant():
    examples = task_of(test_prompts=8000, maps=1).examples("fresh", None, 0)
    share = (examples.targets[:, ::2] == 0).double().mean()
    assert examples.facts.chance == pytest.approx(ANEW)
    assert share == pytest.approx(ANEW, abs=0.02)


@pytest.mark.parametrize("maps", [0, None])
def test_without_a_pool_both_splits_are_of_maps_drawn_anew(maps):
    task = task_of(maps=maps)
    chances = [task.examples(split, 1, 0).facts.chance for split in task.splits]
    assert chances == pytest.approx([ANEW, ANEW])


def test_a_pool_tells_the_less_the_larger_it_is():
    sizes = (1, 20, 20_000)
    one, some, many = (task_of(maps=size, held_out=0).chance("test") for size in sizes)
    assert one > some + 0.1 > many + 0.1
    assert ANEW < many < ANEW + 0.01


def test_of_very_many_images_a_part_is_enough():
    """With 19 factors of 2 values a label has as many votes as there are heads of 19 coins."""
    world = images_of_network((2,) * 19, 2, 0.5, 0)
    heads = [math.comb(19, k) * max(k, 19 - k) / 19 for k in range(20)]
    found = best_guess(world, Share(False, 0.0, 0), 1)
    assert found == pytest.approx(sum(heads) / 2**19, abs=6e-4)  # 4 deviations


def test_a_plateau_ends_above_what_its_own_split_gives_without_context(tmp_path):
    table = {
        "name": "images",
        "task": {"name": "factor_labels", "maps": 1} | SMALL,
        "model": {"kind": "read_in", "d_model": 8, "n_heads": 2},
        "training": {"steps": 4, "batch_size": 8, "chunk": 2, "evaluate": {"every": 4}},
    }
    interp.train(Experiment.model_validate(table), tmp_path / "run", device="cpu")
    series, task = interp.load(tmp_path / "run").series(), task_of(maps=1)
    found = {split: LearningPlateau.measure(series, split=split).chance for split in task.splits}
    assert found == {"test": task.chance("test"), "fresh": pytest.approx(ANEW)}
    assert LearningPlateau.measure(series).chance == task.chance("test") > 0.5


def test_a_changed_task_has_its_own_chance():
    one, other = task_of(maps=1), task_of(maps=300)
    assert one.chance("test") != other.chance("test")
    changed = one.model_copy(update={"maps": 300})
    assert changed.chance("test") == other.chance("test")
