import math
from dataclasses import replace

import numpy as np
import pytest

from analyses import ModelSelection
from hooks import GivenCheckpoints, build
from hooks.models import ReadInConfig, parameters_of
from interp.tasks.functions.function_classes import FunctionClasses
from tests.sweeps import drawn, table_of

WEIGHTS = "task.weights"
LINEAR = [{"family": "dense"}, {"family": "sparse", "nnz": 1}]
WAVE = [{"family": "dense"}, {"family": "sinusoid"}]


def answering(answer, weights, **options):
    """A run of a mixture, whose model always answers one number."""
    table = {"d": 3, "pairs": 6, "test_prompts": 300, "classes": LINEAR} | options
    task = FunctionClasses.model_validate(table | {"weights": weights})
    config = ReadInConfig(d_model=8, n_heads=2)
    model = build(config, task.sizes, seed=0)
    parameters = {name: each.clone() for name, each in parameters_of(model).items()}
    parameters["unembed.W_U"].zero_()
    parameters["unembed.b_U"].fill_(answer)
    return GivenCheckpoints(
        steps=(0, 10),
        config=config,
        sizes=task.sizes,
        parameters=lambda step: parameters,
        make_examples=lambda split, count, seed: task.examples(split or "test", count, 0),
        facts=task.facts,
    )


def measured(runs, axes=(WEIGHTS,), failures=(), **options):
    """The runs of a sweep by name, compared."""
    table = table_of([{"run": name} for name in runs])
    table.loc[table["run"].isin(failures), "failure"] = "diverged"
    return ModelSelection.measure(table, runs, axes=axes, **options)


RUNS = {
    "mixed": answering(1.0, [1, 1]),
    "dense": answering(0.0, [1, 0]),
    "sparse": answering(3.0, [0, 2]),
}
FOUND = measured(RUNS, references=["zero", "least_squares"])


def test_settings_are_named_by_what_they_were_trained_on():
    assert FOUND.names == ("dense alone", "dense 0.5, sparse 0.5", "sparse alone")
    assert [FOUND.names[each] for each in FOUND.setting] == [
        "dense 0.5, sparse 0.5", "dense alone", "sparse alone",
    ]  # fmt: skip
    assert (FOUND.mixture, FOUND.pure("dense"), FOUND.pure("sparse")) == (1, 0, 2)


def test_errors_and_distances_are_selected_by_names_of_runs_and_baselines():
    dataset = FOUND.to_xarray()
    np.testing.assert_array_equal(dataset.errors.sel(predictor="sparse"), FOUND.errors[:, 2])
    apart = dataset.distances.sel(predictor="mixed", other="zero")
    np.testing.assert_array_equal(apart, FOUND.distances[:, 0, 3])
    assert float(dataset.shares.sel({"training": "sparse alone", "class": "sparse"})) == 1


def test_all_answer_the_prompts_of_the_mixture():
    assert FOUND.groups[:2] == ("dense", "sparse")
    always = answering(0.0, [1, 1]).examples("test")
    y, kinds = always.targets[:, ::2].double(), always.label("class")
    for group in (0, 1):
        own = y[kinds == group]
        scale = own.square().mean()
        expected = ((1 - own).square().mean(0) / scale).numpy()
        np.testing.assert_allclose(FOUND.errors[group, 0], expected)


def test_distances_are_squared_differences_over_the_mean_square():
    scale = answering(0.0, [1, 1]).examples("test")
    own = scale.targets[:, ::2][scale.label("class") == 0].double().square().mean()
    np.testing.assert_allclose(FOUND.distances[0, 0, 1], 1 / own)  # answers 1 and 0
    np.testing.assert_allclose(FOUND.distances[0, 1, 2], 9 / own)  # 0 and 3
    np.testing.assert_allclose(FOUND.distances, FOUND.distances.swapaxes(1, 2))


def test_the_zero_predictor_is_where_a_silent_model_is():
    zero = FOUND.curves.index("zero")
    np.testing.assert_allclose(FOUND.curve_errors[:, zero], FOUND.curve_errors[:, 0])
    np.testing.assert_allclose(FOUND.curve_distances[:, zero, 0], 0)


def test_references_stand_where_closed_forms_put_them():
    errors = FOUND.curve_errors[0, FOUND.curves.index("least_squares")]
    np.testing.assert_allclose(errors[3:], 0, atol=1e-6)


def test_the_error_inside_is_of_the_classes_trained_on():
    np.testing.assert_allclose(FOUND.in_class[0], FOUND.curve_errors[0, 0])
    np.testing.assert_allclose(FOUND.in_class[2], FOUND.curve_errors[1, 2])
    np.testing.assert_allclose(FOUND.in_class[1], FOUND.curve_errors[:2, 1].mean(0))


def test_seeds_of_a_setting_are_averaged_and_their_distance_is_told():
    found = measured(RUNS | {"again": answering(2.0, [2, 2])}, references=[])
    np.testing.assert_allclose(
        found.curve_errors[:, 1], (found.errors[:, 0] + found.errors[:, 3]) / 2
    )
    np.testing.assert_allclose(found.curve_distances[:, 1, 1], found.distances[:, 0, 3])
    assert np.isnan(found.curve_distances[:, 0, 0]).all()


def test_there_is_a_group_for_each_value_of_each_split():
    by_split = {each: FOUND.splits.count(each) for each in FOUND.splits}
    assert by_split == {"test": 2, "combination": 7, "scale": 2 * 4, "sparsity": 3}
    nnz = [value for split, value in zip(FOUND.splits, FOUND.values, strict=True)
           if split == "sparsity"]  # fmt: skip
    assert nnz == [1, 2, 3]


def test_the_summary_tells_what_mixing_costs():
    summary, errors = FOUND.summary(), FOUND.curve_errors[..., FOUND.at]
    assert summary["examples"] == 1  # half of three
    assert summary["dense_cost"] == pytest.approx(errors[0, 1] - errors[0, 0])
    assert summary["dense_other"] == pytest.approx(errors[0, 2])
    assert summary["sparse_pure"] == pytest.approx(errors[1, 2])
    assert summary["in_class"] == pytest.approx(errors[:2, 1].mean())
    # Of a constant answer the error is largest where y is smallest.
    assert summary["scale_largest_at"] in ("dense, scale 0.3", "sparse, scale 0.3")


def test_values_that_lead_back_into_training_are_inside():
    inside = [name for name, out in zip(FOUND.groups, FOUND.outside, strict=True) if not out]
    assert inside == [
        "dense", "sparse", "alpha 0", "alpha 1", "dense, scale 1", "sparse, scale 1",
        "nnz 1", "nnz 3",
    ]  # fmt: skip


def test_the_largest_error_of_a_split_is_one_from_outside():
    wild = FOUND.errors.copy()
    wild[~FOUND.outside] = 1e6
    summary = replace(FOUND, errors=wild).summary()
    assert summary["sparsity_largest_at"] == "nnz 2"
    largest = [value for name, value in summary.items() if name.endswith("_largest")]
    assert len(largest) == 3
    assert 1e6 not in largest


def test_a_split_that_never_leaves_training_has_no_largest_error():
    summary = replace(FOUND, outside=np.zeros_like(FOUND.outside)).summary()
    assert not any("largest" in name for name in summary)


def test_scales_are_told_apart_by_class():
    rows = [row for row, split in enumerate(FOUND.splits) if split == "scale"]
    assert [FOUND.kinds[row] for row in rows] == ["dense"] * 4 + ["sparse"] * 4
    np.testing.assert_allclose(FOUND.values[rows], [0.3, 1, 3, 10] * 2, rtol=1e-6)


def test_ratios_are_to_ridge_on_the_features_of_all_classes():
    runs = {"mixed": answering(1.0, [1, 1], d=1, classes=WAVE)}
    found = measured(runs, references=["zero", "joint_ridge"])
    np.testing.assert_allclose(found.ratios, found.curve_errors / found.curve_errors[:, [2]])
    combined = np.array([split == "combination" for split in found.splits]) & found.outside
    summary = found.summary()
    assert summary["combination_ratio"] == pytest.approx(found.ratios[combined, 0, 5].max())
    inside = found.in_class[:, 5]
    assert summary["in_class_ratio"] == pytest.approx(inside[0] / inside[2])
    figure = drawn(found.figures()["ratio"])
    (own,) = [each for each in figure["data"] if each["name"] == "dense 0.5, sinusoid 0.5"]
    np.testing.assert_allclose(own["y"], found.ratios[2:9, 0, 5])
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < np.log10(own["y"]).min() < np.log10(own["y"]).max() < high


def test_without_known_features_there_is_no_ratio():
    classes = [{"family": "dense"}, {"family": "decision_tree", "depth": 2}]
    found = measured({"mixed": answering(1.0, [1, 1], classes=classes)})
    assert (found.joint, "ratio" in found.figures()) == ("", False)
    assert np.isnan(found.ratios).all()
    assert "combination_ratio" not in found.summary()


def test_the_table_has_the_error_inside_beside_every_error():
    frame = FOUND.to_frame()
    assert len(frame) == len(FOUND.groups) * 5 * 6
    row = frame[(frame["group"] == "dense, scale 10") & (frame["curve"] == "dense alone")].iloc[2]
    assert row["in_class"] == pytest.approx(FOUND.in_class[0, 2])
    assert row["to zero"] == 0


def test_a_wave_has_its_own_splits_and_the_last_number_of_examples():
    runs = {"mixed": answering(1.0, [1, 1], d=1, classes=WAVE)}
    found = measured(runs, references=["bayes"])
    assert found.at == 5
    assert "frequency" in found.splits
    assert "sparsity" not in found.splits
    assert found.references == ("bayes",)
    assert set(found.figures()) == {"classes", "combination", "scale", "frequency"}


def test_failed_runs_are_left_out():
    assert measured(RUNS, failures=["sparse"], references=[]).runs == ("mixed", "dense")


def test_without_references_the_summary_tells_of_models_alone():
    summary = measured(RUNS, references=[]).summary()
    assert "dense_best_reference" not in summary
    assert all(isinstance(each, str) or math.isfinite(each) for each in summary.values())


def test_errors_outside_are_drawn_beside_those_inside():
    figure = drawn(FOUND.figures()["scale"])
    headings = [note["text"] for note in figure["layout"]["annotations"]]
    assert headings == ["on dense", "on sparse", "on the classes trained on"]
    assert figure["layout"]["title"]["text"].startswith("Errors after 1 example on values made")


def test_distances_are_those_of_the_mixture():
    figure = drawn(FOUND.figures()["distances"])
    by_name = {each["name"]: each["y"] for each in figure["data"]}
    rows = [row for row, split in enumerate(FOUND.splits) if split == "sparsity"]
    np.testing.assert_allclose(by_name["dense alone"], FOUND.curve_distances[rows, 1, 0, FOUND.at])
    assert "dense 0.5, sparse 0.5" not in by_name  # a single run has no distance to itself


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        (RUNS, {"axes": [WEIGHTS, "training.lr"]}, "here training.lr varies too"),
        (RUNS, {"at": 6}, "at = 6: give a number of examples from 0 to 5"),
        (RUNS, {"references": ["spline"]}, "baselines: no 'spline'"),
        (RUNS, {"failures": ["mixed", "dense", "sparse"]}, "no run is finished"),
        ({"dense": RUNS["dense"]}, {}, "needs a run with all of dense, sparse in its mixture"),
        (
            RUNS | {"other": answering(0, [1, 1], pairs=7)},
            {},
            "runs of one task, and pairs differs",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, options, message):
    with pytest.raises(ValueError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        measured(runs, **options)


def test_runs_of_another_task_are_refused(run):
    with pytest.raises(
        ValueError, match="runs of function_classes: their task tells no FunctionFacts"
    ):
        measured({"addition": run.series()})


def with_errors(mixture, pure, other, outside):
    """The sweep with these errors of its three models, on their classes and outside."""
    errors = FOUND.errors.copy()
    for row, name in enumerate(FOUND.groups[:2]):
        alone = [pure, other] if name == "dense" else [other, pure]
        errors[row, :3] = np.array([mixture, *alone])[:, None]
    errors[2:, 0] = outside
    return [
        (finding.strength, finding.text) for finding in replace(FOUND, errors=errors).findings()
    ]


def test_a_mixture_that_chooses_and_goes_beyond_is_found_beside_pure_models():
    choice, combination, _ = with_errors(0.25, 0.125, 1.0, 0.375)
    assert choice[0] == combination[0] == "found"
    assert choice[1] in [
        f"On {name} prompts the mixture's error after 1 example is 0.25 of mean y² (trained on "
        f"{name} alone: 0.12, on another class: 1)"
        for name in ("dense", "sparse")
    ]
    assert combination[1] == (
        "The mixture goes beyond its classes on combinations: largest error 0.38 of mean y² "
        "(inside: 0.25)"
    )


def test_a_mixture_as_bad_as_the_others_or_bad_outside_is_not_found():
    choice, combination, _ = with_errors(0.75, 0.125, 1.0, 1.625)
    assert choice[0] == combination[0] == "not found"
    assert "does not go beyond its classes on combinations" in combination[1]


def test_without_pure_models_and_outside_nothing_is_said():
    alone = measured({"mixed": RUNS["mixed"]}, references=[])
    assert [finding.figure for finding in alone.findings()] == ["combination", "scale", "sparsity"]
    assert replace(alone, outside=np.zeros_like(alone.outside)).findings() == ()
