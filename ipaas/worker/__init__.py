"""The warm worker: runs executions, takes over from the dead, brings Prefect and history together.

Prefect finds the worker type here, through the entry point `prefect.collections`.
"""

from ipaas.worker.worker import IpaasWorker

__all__ = ["IpaasWorker"]
