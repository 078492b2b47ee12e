"""Logistic probes of one label over all layers against a loop of scikit-learn fits."""

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from analyses.probes.evaluate import GroupSplit, ProbeTarget, readings, split_by_group
from analyses.probes.fit import PENALTIES
from analyses.probes.inputs import activations, chosen_sites, group_values, places
from interp.runs.run import load
from tests.bench import Comparison, interleaved

FIXTURE = Path(__file__).parents[2] / "fixtures" / "modular-addition"


def plain_score(x: np.ndarray, y: np.ndarray, split: GroupSplit) -> float:
    """Accuracy under the penalty that is best on the validation rows."""
    fit, validation, test = split.fit.numpy(), split.validation.numpy(), split.test.numpy()
    scores = [score(x, y, (fit, validation), penalty) for penalty in PENALTIES]
    return score(x, y, (fit | validation, test), PENALTIES[int(np.argmax(scores))])


def score(x: np.ndarray, y: np.ndarray, rows: tuple[np.ndarray, np.ndarray], l2: float) -> float:
    """Accuracy on the second rows of a fit on the first."""
    fit_on, ask = rows
    scaler = StandardScaler().fit(x[fit_on])
    probe = LogisticRegression(C=1 / l2, max_iter=1000).fit(scaler.transform(x[fit_on]), y[fit_on])
    return float(probe.score(scaler.transform(x[ask]), y[ask]))


def compare() -> Comparison:
    """The answer of 53 classes at three sites of the fixture, float32, five penalties."""
    snapshot = load(FIXTURE).snapshot()
    examples = snapshot.examples
    index = places(examples, -1)[1]
    sites = activations(snapshot, chosen_sites(snapshot, None), index)
    features = [each[:, 0] for each in sites.values()]
    split = split_by_group(group_values(examples, None), seed=0)
    answers = examples.label("c")
    target = ProbeTarget.of(answers)

    def plain() -> list[float]:
        return [plain_score(x.numpy(), answers.numpy(), split) for x in features]

    def ours() -> list[float]:
        read = [readings(x, [target], split, method="logistic") for x in features]
        return [each[0].score for each in read]

    with threadpool_limits(1):
        np.testing.assert_allclose(ours(), plain(), rtol=0, atol=0.005)  # of 703 examples, 3
        times = interleaved(plain, ours, repeats=9)
    return Comparison("logistic probes, 3 sites x 5 penalties, 2,106 x 48", *times, goal=1)
