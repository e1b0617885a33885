"""Loops."""

from __future__ import annotations

from typing import Any

from executing import URL, block, steps
from executing import post as posts
from executing import step as kind
from scenario import Case, Scenario, post

from connectors import http
from flows import Event, Failed, each, sleep, workflow
from foundation.errors import IpaasError


@workflow()
async def through(event: Event) -> Any:
    async for line in each(event.body, id="lines"):
        await post("/a", line)
    await post("/z")


@workflow()
async def collects(event: Event) -> Any:
    found = []
    async for index, line in each(enumerate(event.body), id="lines"):
        found.append(await post("/a", [index, line]))
    return found


@workflow()
async def tolerant(event: Event) -> Any:
    async def reserve(line: Any) -> Any:
        await post("/a", line)
        return await http.request.with_id("b")(method="POST", url=f"{URL}/{line}", json=line)

    return len(await each(event.body, reserve, tolerate=1, id="lines"))


@workflow()
async def parallel(event: Event) -> Any:
    async def reserve(line: Any) -> Any:
        return await post("/a", line)

    return await each(event.body, reserve, concurrency=2, id="lines")


@workflow()
async def nested(event: Event) -> Any:
    async for line in each(event.body, id="lines"):
        first = await post("/a", line["id"])
        async for part in each(line["parts"], id="parts"):
            await post("/b", [first, part])


@workflow()
async def polls(event: Event) -> Any:
    async for index in each(range(4), id="poll"):
        if index:
            await sleep("10s")
        answer = await post("/a", index + event.body)
        if answer >= 2:
            return answer
    raise Failed("never", code="limit")


@workflow()
async def finds(event: Event) -> Any:
    async for index, item in each(enumerate(event.body), id="search"):
        await post("/a", item)
        if item == 2:
            return {"at": index}
    return None


@workflow()
async def guarded(event: Event) -> Any:
    async for line in each(event.body, id="lines"):
        try:
            await post("/a", line)
            if line == 2:
                raise Failed("two")
        except IpaasError as error:
            await post("/sorry", str(error))


OK = "succeeded"

LOOPS = [
    Scenario(
        "for_each",
        steps(kind("lines", for_each="event.body", as_="line", steps=block(posts("/a", "{{ line }}"))), posts("/z")),
        [
            Case([1, 2], [("/a", 1), ("/a", 2), ("/z", None)], ran={"lines[0].a": OK, "lines[1].a": OK, "z": OK}),
            Case([], [("/z", None)], ran={"z": OK}),
            Case([1, 2], [("/a", 1)], None, "remote", "404", {"lines[0].a": "failed"}, {"/a": 404}),
        ],
        through,
    ),
    Scenario(
        "for_each of a list that is no list",
        steps(kind("lines", for_each="event.body", steps=block(posts("/a", "{{ item }}")))),
        [Case("ab", error="expression", says="a list"), Case({"a": 1}, error="expression", says="a list")],
        through,
        codes=False,
    ),
    Scenario(
        "for_each with its outputs and the index",
        steps(
            kind("lines", for_each="event.body", as_="line", steps=block(posts("/a", ["{{ index }}", "{{ line }}"]))),
            output="\"{{ steps.lines.output | map(attribute='body') | map(attribute='got') }}\"",
        ),
        [
            Case(["x", "y"], [("/a", [0, "x"]), ("/a", [1, "y"])], [[0, "x"], [1, "y"]]),
            Case([], [], []),
        ],
        collects,
    ),
    Scenario(
        "for_each that bears failures",
        steps(
            kind(
                "lines",
                for_each="event.body",
                as_="line",
                tolerate=1,
                steps=block(
                    posts("/a", "{{ line }}"),
                    kind(
                        "b",
                        uses="http.request",
                        with_={"method": "POST", "url": URL + "/{{ line }}", "json": "{{ line }}"},
                    ),
                ),
            ),
            output="'{{ steps.lines.output | length }}'",
        ),
        [
            Case([1, 2], [("/a", 1), ("/1", 1), ("/a", 2), ("/2", 2)], 2, answers={"/1": 404}),
            Case(
                [1, 1, 3],
                [("/a", 1), ("/1", 1), ("/a", 1), ("/1", 1)],
                None,
                "remote",
                ran={"lines[0].a": OK, "lines[0].b": "failed", "lines[1].a": OK, "lines[1].b": "failed"},
                answers={"/1": 404},
            ),
        ],
        tolerant,
    ),
    Scenario(
        "for_each side by side",
        steps(
            kind("lines", for_each="event.body", as_="line", concurrency=2, steps=block(posts("/a", "{{ line }}"))),
            output="\"{{ steps.lines.output | map(attribute='body.got') }}\"",
        ),
        [Case([1, 2, 3], [("/a", 1), ("/a", 2), ("/a", 3)], [1, 2, 3]), Case([], [], [])],
        parallel,
        in_order=False,
    ),
    Scenario(
        "for_each with an action of its own",
        steps(
            kind(
                "lines",
                for_each="event.body",
                uses="http.request",
                with_={"method": "POST", "url": URL + "/a", "json": "{{ item }}"},
            ),
            output="'{{ steps.lines.output | length }}'",
        ),
        [
            Case([1, 2], [("/a", 1), ("/a", 2)], 2, ran={"lines[0]": OK, "lines[1]": OK}),
            Case([1], [("/a", 1)], None, "remote", ran={"lines[0]": "failed"}, answers={"/a": 404}),
        ],
    ),
    Scenario(
        "for_each of an action, whatever fails",
        steps(
            kind(
                "lines",
                for_each="event.body",
                on_error="continue",
                uses="http.request",
                with_={"method": "POST", "url": URL + "/{{ item }}", "json": ["{{ item }}", "{{ index }}"]},
            ),
            output="\"{{ steps.lines.output | selectattr('error', 'defined') | map(attribute='error.status') }}\"",
        ),
        [Case([1, 2, 3], [("/1", [1, 0]), ("/2", [2, 1]), ("/3", [3, 2])], [404, 410], answers={"/1": 404, "/3": 410})],
    ),
    Scenario(
        "for_each that keeps nothing, of a literal list",
        steps(
            kind(
                "lines",
                for_each=[1, "{{ event.body }}"],
                collect=False,
                concurrency=2,
                steps=block(posts("/a", "{{ item }}")),
            ),
            output="'{{ steps.lines.status }}'",
        ),
        [Case(2, [("/a", 1), ("/a", 2)], OK)],
        in_order=False,
    ),
    Scenario(
        "loops in loops",
        steps(
            kind(
                "lines",
                for_each="event.body",
                as_="line",
                steps=block(
                    posts("/a", "{{ line.id }}"),
                    kind(
                        "parts",
                        for_each="line.parts",
                        as_="part",
                        steps=block(posts("/b", ["{{ steps.a.output.body.got }}", "{{ part }}"])),
                    ),
                ),
            )
        ),
        [
            Case(
                [{"id": 1, "parts": ["x"]}, {"id": 2, "parts": ["y", "z"]}],
                [("/a", 1), ("/b", [1, "x"]), ("/a", 2), ("/b", [2, "y"]), ("/b", [2, "z"])],
                ran={
                    "lines[0].a": OK,
                    "lines[0].parts[0].b": OK,
                    "lines[1].a": OK,
                    "lines[1].parts[0].b": OK,
                    "lines[1].parts[1].b": OK,
                },
            )
        ],
        nested,
    ),
    Scenario(
        "loops in loops whose items are called the same",
        steps(
            kind(
                "outer",
                for_each="event.body",
                steps=block(
                    kind("inner", for_each="item", steps=block(posts("/b", ["{{ item }}", "{{ index }}"]))),
                    posts("/a", ["{{ item | length }}", "{{ index }}"]),
                ),
            )
        ),
        [
            Case(
                [["x"], ["y", "z"]],
                [("/b", ["x", 0]), ("/a", [1, 0]), ("/b", ["y", 0]), ("/b", ["z", 1]), ("/a", [2, 1])],
            )
        ],
    ),
    Scenario(
        "repeat",
        steps(
            kind(
                "poll",
                repeat={"until": "steps.a.output.body.got >= 2", "every": "10s", "limit": 4},
                steps=block(posts("/a", "{{ index + event.body }}")),
            ),
            output="'{{ steps.poll.output.body.got }}'",
        ),
        [
            Case(0, [("/a", 0), ("/a", 1), ("/a", 2)], 2, ran={"poll[0].a": OK, "poll[1].a": OK, "poll[2].a": OK}),
            Case(2, [("/a", 2)], 2),
            Case(-3, [("/a", -3), ("/a", -2), ("/a", -1), ("/a", 0)], None, "limit"),
        ],
        polls,
    ),
    Scenario(
        "stop from within a loop",
        steps(
            kind(
                "search",
                for_each="event.body",
                steps=block(
                    posts("/a", "{{ item }}"), kind("found", if_="item == 2", stop={"output": {"at": "{{ index }}"}})
                ),
            )
        ),
        [Case([1, 2, 3], [("/a", 1), ("/a", 2)], {"at": 1}), Case([1], [("/a", 1)])],
        finds,
    ),
    Scenario(
        "a try in each round",
        steps(
            kind(
                "lines",
                for_each="event.body",
                as_="line",
                steps=block(
                    kind(
                        "guard",
                        try_=block(posts("/a", "{{ line }}"), kind("no", fail="two", if_="line == 2")),
                        catch=block(posts("/sorry", "{{ error.message }}")),
                    )
                ),
            )
        ),
        [Case([1, 2, 3], [("/a", 1), ("/a", 2), ("/sorry", "two"), ("/a", 3)])],
        guarded,
    ),
    Scenario(
        "what a round left skipped is not the round's before",
        steps(
            kind(
                "lines",
                for_each="event.body",
                steps=block(
                    posts("/a", "{{ item }}", if_="item > 1"),
                    posts("/b", ["{{ steps.a.status }}", "{{ steps.a.output | default('none', true) == 'none' }}"]),
                ),
            )
        ),
        [Case([2, 1], [("/a", 2), ("/b", ["succeeded", False]), ("/b", ["skipped", True])])],
    ),
]
