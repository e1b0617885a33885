"""The engine as a Prefect flow, its steps as tasks; deployments; every private part of Prefect we touch."""
