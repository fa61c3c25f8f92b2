"""Running methods over all splits, and keeping the results."""

from oodml.sweep.executors import SerialExecutor, make_executor
from oodml.sweep.following import latest_line
from oodml.sweep.jobs import Setting
from oodml.sweep.run import Sweep, Work, count_work, run_methods, run_sweep
from oodml.sweep.runs import RunStore, read_cards
from oodml.sweep.spec import RunSpec

__all__ = [
    "RunSpec",
    "RunStore",
    "SerialExecutor",
    "Setting",
    "Sweep",
    "Work",
    "count_work",
    "latest_line",
    "make_executor",
    "read_cards",
    "run_methods",
    "run_sweep",
]
