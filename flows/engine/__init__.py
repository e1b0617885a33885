"""Walks a workflow for one event. Knows nothing of Prefect: what calls an action, and what records, is handed in.

`execution` takes one from its event to its end, `walk` goes through the steps of a YAML workflow, `step` is the one way
in which any step runs, `journal` records. For a Python function `calls` numbers what it calls; `each`, `in_order`,
`own_steps`, `waits` and `words` are what it can call beside actions.
"""
