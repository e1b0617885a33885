"""Runs that Prefect did not orchestrate, written into its tables in bulk, as it shows those that it did.

Only what goes over the wire is here for everybody; the rest imports Prefect's server.
"""

from flows.on_prefect.recording.records import (
    AT_ONCE,
    PATH,
    Artifact,
    Batch,
    Details,
    Kind,
    LogLine,
    Recorded,
    RunRecord,
    State,
    TaskRecord,
    TaskState,
)

__all__ = [
    "AT_ONCE",
    "PATH",
    "Artifact",
    "Batch",
    "Details",
    "Kind",
    "LogLine",
    "Recorded",
    "RunRecord",
    "State",
    "TaskRecord",
    "TaskState",
]
