"""Walks a workflow for one event. Knows nothing of Prefect."""
