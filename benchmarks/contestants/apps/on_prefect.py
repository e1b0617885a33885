"""The work on Prefect alone: flows that are served. Run by `python on_prefect.py RECEIVER_URL`."""

import sys
from pathlib import Path

import httpx
from prefect import flow, serve, task

RECEIVER = Path(__file__).with_name("receiver").read_text()


@task
def post(path: str, n: int) -> None:
    httpx.post(f"{RECEIVER}{path}", json={"n": n}).raise_for_status()


@flow(log_prints=False)
def one(n: int) -> None:
    post("/one/1", n)


@flow(log_prints=False)
def three(n: int) -> None:
    for step in (1, 2, 3):
        post(f"/three/{step}", n)


if __name__ == "__main__":
    serve(one.to_deployment("one"), three.to_deployment("three"))
    sys.exit(0)
