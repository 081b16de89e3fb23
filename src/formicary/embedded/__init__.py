"""Queen and ant in one process: what `formicary run`, tests and `job.run()` use."""

from formicary.embedded.colony import Colony, ColonyConfig
from formicary.embedded.inline import InlinePython
from formicary.embedded.opening import as_problems, default_data_dir, open_data
from formicary.embedded.running import run_job, run_job_async

__all__ = [
    "Colony",
    "ColonyConfig",
    "InlinePython",
    "as_problems",
    "default_data_dir",
    "open_data",
    "run_job",
    "run_job_async",
]
