"""Pages about runs: an index, a page a run, and what they need beside them."""

from interp.report.write import write_report

__all__ = ["write_report"]
