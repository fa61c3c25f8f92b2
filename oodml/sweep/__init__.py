"""Running methods over all splits, and keeping the results."""

from oodml.sweep.executors import SerialExecutor, make_executor
from oodml.sweep.run import Sweep, Work, count_work, run_methods, run_sweep
from oodml.sweep.runs import RunStore, read_cards
from oodml.sweep.spec import RunSpec

__all__ = [
    "RunSpec",
    "RunStore",
    "SerialExecutor",
    "Sweep",
    "Work",
    "count_work",
    "make_executor",
    "read_cards",
    "run_methods",
    "run_sweep",
]
