"""Walks a workflow for one event. Knows nothing of Prefect: what calls an action, and what records, is handed in.

`execution` takes one from its event to its end, `walk` goes through the steps of a YAML workflow, `calls` numbers the
calls of a Python function, `step` is the one way in which any step runs, `journal` records.
"""
