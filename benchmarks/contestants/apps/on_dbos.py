"""The work on DBOS: a FastAPI app whose routes start durable workflows. Run in DBOS's own environment.

Usage: on_dbos.py PORT DATABASE_URL RECEIVER_URL
"""

import sys

import httpx
import uvicorn
from dbos import DBOS
from fastapi import FastAPI, Request

PORT, DATABASE, RECEIVER = int(sys.argv[1]), sys.argv[2], sys.argv[3]

app = FastAPI()
client = httpx.AsyncClient(limits=httpx.Limits(max_connections=100))


@DBOS.step()
async def post(path: str, n: int) -> int:
    answer = await client.post(f"{RECEIVER}{path}", json={"n": n})
    return answer.raise_for_status().status_code


@DBOS.workflow()
async def one(n: int) -> None:
    await post("/one/1", n)


@DBOS.workflow()
async def three(n: int) -> None:
    for step in (1, 2, 3):
        await post(f"/three/{step}", n)


@DBOS.workflow()
async def answer(n: int) -> int:
    return await post("/answer/1", n)


@app.post("/one", status_code=202)
async def start_one(request: Request) -> dict[str, str]:
    handle = await DBOS.start_workflow_async(one, (await request.json())["n"])
    return {"id": handle.workflow_id}


@app.post("/three", status_code=202)
async def start_three(request: Request) -> dict[str, str]:
    handle = await DBOS.start_workflow_async(three, (await request.json())["n"])
    return {"id": handle.workflow_id}


@app.post("/answer")
async def run_answer(request: Request) -> dict[str, int]:
    handle = await DBOS.start_workflow_async(answer, (await request.json())["n"])
    return {"status": await handle.get_result()}


# SQLite has one writer: with the default pool, its connections wait for each other's lock, asleep, and storms take
# up to several times as long.
pool = {"sys_db_pool_size": 1} if DATABASE.startswith("sqlite") else {}
DBOS(config={"name": "benchmark", "system_database_url": DATABASE, "log_level": "WARNING", **pool})

if __name__ == "__main__":
    DBOS.launch()
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
