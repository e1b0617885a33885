"""Which accepted executions may start now, and handing them to Prefect."""
