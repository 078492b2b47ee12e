"""What a result's header says of the experiment that it was measured on."""

import numpy as np

from interp.runs.basis import experiment_digest
from interp.tasks.factors.factor_labels import FactorLabels
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.interp.tasks.images import saved
from tests.planted import tiny_config, tiny_experiment, tiny_factors


class Later(ModularArithmetic):
    """The same task in a later version, with one more option."""

    added: int = 0


def with_task(task):
    return tiny_experiment().model_copy(update={"task": task})


def test_an_option_added_later_changes_no_digest():
    now = tiny_experiment().task
    later = Later.model_validate(now.model_dump())
    assert experiment_digest(with_task(later)) == experiment_digest(with_task(now))


def test_an_option_added_later_changes_the_digest_where_it_is_used():
    later = Later.model_validate(tiny_experiment().task.model_dump() | {"added": 1})
    assert experiment_digest(with_task(later)) != experiment_digest(tiny_experiment())


def test_tasks_and_models_of_different_kinds_have_different_digests():
    experiments = [tiny_experiment(), tiny_factors()]
    other = {"model": tiny_config(n_heads=4)}
    assert len({experiment_digest(each) for each in experiments}) == 2
    assert experiment_digest(tiny_experiment().model_copy(update=other)) != experiment_digest(
        tiny_experiment()
    )


def test_the_content_of_a_file_that_the_task_reads_is_in_the_digest(tmp_path):
    task = FactorLabels(file=saved(tmp_path), pairs=4, held_out=0, maps=1)
    before = experiment_digest(with_task(task))
    saved(tmp_path)
    assert experiment_digest(with_task(task)) == before
    saved(tmp_path, embeddings=np.ones((60, 5)))
    assert experiment_digest(with_task(task)) != before
