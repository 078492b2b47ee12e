"""Every sentence that a stored run's results state can be read, and leads to a figure."""

import re
from pathlib import Path

import pytest

import interp
from analyses.plots.plain import plain_figures
from interp.runs import current_results, findings_of

FIXTURES = sorted(
    path.parent for path in (Path(__file__).parents[2] / "fixtures").glob("*/experiment.toml")
)
SAVED = {
    f"{path.name}-{saved.name}-{saved.split}": saved
    for path in FIXTURES
    for saved in current_results(interp.load(path))[0]
}
MAX_LETTERS = 180
INTERNAL = re.compile(r"nan\b|inf\b|None|_|\bblocks\.|<|>", re.IGNORECASE)


@pytest.mark.parametrize("name", SAVED)
def test_findings_are_plain_sentences_about_a_figure(name):
    saved = SAVED[name]
    findings = findings_of(saved)
    with plain_figures():
        slugs = [*saved.load().figures()]
    for finding in findings:
        assert not INTERNAL.search(finding.text), finding.text
        assert len(finding.text) <= MAX_LETTERS, finding.text
        assert finding.text[-1] not in ".!", finding.text
        assert finding.figure in ("", *slugs), (finding, slugs)


def test_stored_runs_state_findings():
    assert sum(len(findings_of(saved)) for saved in SAVED.values()) > 15
