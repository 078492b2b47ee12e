"""Where jobs run: processes of this machine, a cluster's engine, or any executor."""

from interp.executors.engine import (
    MAX_JOBS,
    Engine,
    FuturesEngine,
    Job,
    Look,
    LostJob,
    Outcome,
    Queue,
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
    "LostJob",
    "Outcome",
    "Queue",
    "as_engine",
    "in_words",
    "shared_out",
]
