"""Where jobs run: processes of this machine, a cluster's engine, or any executor."""

from interp.executors.engine import (
    MAX_JOBS,
    Engine,
    FuturesEngine,
    Job,
    Look,
    Outcome,
    as_engine,
    in_words,
    shared_out,
)

__all__ = [
    "MAX_JOBS",
    "Engine",
    "FuturesEngine",
    "Job",
    "Look",
    "Outcome",
    "as_engine",
    "in_words",
    "shared_out",
]
