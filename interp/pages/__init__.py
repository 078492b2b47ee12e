"""Pages about runs: an index, a page a run, or a sweep's, and what they need beside them."""

from interp.pages.write import write_report, write_sweep_report

__all__ = ["write_report", "write_sweep_report"]
