"""The shipped workflows. Those in YAML are flows here, so that any Prefect worker finds them by importing them."""

from pathlib import Path

from flows.on_prefect.compile import compile_version, yaml_version

_FOLDER = Path(__file__).parent

hello = compile_version(yaml_version(_FOLDER / "hello.yaml"))
order_confirmed = compile_version(yaml_version(_FOLDER / "order-confirmed.yaml"))
