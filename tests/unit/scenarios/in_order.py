"""Steps one after the other: values, conditions, failures, ends."""

from __future__ import annotations

import json
from typing import Any

from executing import URL, block, steps
from executing import post as posts
from executing import step as kind
from scenario import Case, Scenario, post

from connectors import http
from flows import Event, Failed, gather, sleep, workflow
from foundation.errors import IpaasError


@workflow()
async def chain(event: Event) -> Any:
    first = await post("/a", event.body)
    second = await post("/b", first + 1)
    return {"n": await post("/c", second * 2)}


@workflow()
async def chosen(event: Event) -> Any:
    if event.body["amount"] > 10:
        await post("/big", event.body["amount"])
    await post("/all")


@workflow()
async def goes_on(event: Event) -> Any:
    try:
        await post("/a")
        status = "succeeded"
    except IpaasError as error:
        status = f"failed {error.code}"
    return await post("/b", status)


@workflow()
async def stops(event: Event) -> Any:
    if not event.body:
        return {"empty": True}
    await post("/a", event.body)
    return "all"


@workflow()
async def fails(event: Event) -> Any:
    await post("/a")
    if event.body != "known":
        raise Failed(f"No such customer: {event.body}", code="not_found")
    return "found"


@workflow()
async def waits(event: Event) -> Any:
    await post("/a")
    await sleep("20s", id="pause")
    await post("/b")


@workflow()
async def routes(event: Event) -> Any:
    match event.body["country"]:
        case "DE":
            said = await post("/de", "Moin")
        case "FR":
            said = await post("/fr", "Salut")
        case _:
            said = await post("/other", event.body["country"])
    return said


@workflow()
async def guards(event: Event) -> Any:
    try:
        await post("/a")
        await post("/b")
    except IpaasError as error:
        return await post("/sorry", [error.code, error.path])
    finally:
        await post("/clean")
    return "fine"


@workflow()
async def alerts(event: Event) -> Any:
    try:
        await post("/a")
        await post("/b")
    except IpaasError as error:
        await post("/alert", [error.path, error.code])
        raise
    return "fine"


@workflow()
async def keeps_values(event: Event) -> Any:
    total = sum(event.body["prices"])
    who = f"Dear {event.body['name']}"
    await post("/a", [who, total + 1])
    return {"total": total, "who": who}


@workflow()
async def retries(event: Event) -> Any:
    patient = http.request.with_id("a").with_retry(attempts=3, delay="2s", backoff="constant", on=["5xx"])
    await patient.with_timeout("10s")(method="POST", url=f"{URL}/a")
    await http.request.with_id("b").with_retry()(method="POST", url=f"{URL}/b")


@workflow()
async def beside(event: Event) -> Any:
    await gather(post("/a"), post("/b"))
    await post("/c")
    return "succeeded"


IN_ORDER = [
    Scenario(
        "chain",
        steps(
            posts("/a", "{{ event.body }}"),
            posts("/b", "{{ steps.a.output.body.got + 1 }}"),
            posts("/c", "{{ steps.b.output.body.got * 2 }}"),
            output="{n: '{{ steps.c.output.body.got }}'}",
        ),
        [
            Case(
                1,
                [("/a", 1), ("/b", 2), ("/c", 4)],
                {"n": 4},
                ran={"a": "succeeded", "b": "succeeded", "c": "succeeded"},
            ),
            Case(-1, [("/a", -1), ("/b", 0), ("/c", 0)], {"n": 0}),
            Case(1, [("/a", 1), ("/b", 2)], None, "remote", "404", {"a": "succeeded", "b": "failed"}, {"/b": 404}),
        ],
        chain,
    ),
    Scenario(
        "if",
        steps(posts("/big", "{{ event.body.amount }}", if_="event.body.amount > 10"), posts("/all")),
        [
            Case({"amount": 11}, [("/big", 11), ("/all", None)], ran={"big": "succeeded", "all": "succeeded"}),
            Case({"amount": 10}, [("/all", None)], ran={"all": "succeeded"}),
        ],
        chosen,
    ),
    Scenario(
        "on_error",
        steps(
            posts("/a", on_error="continue"),
            posts("/b", "{{ steps.a.status }}{{ ' ' ~ steps.a.error.code if steps.a.status == 'failed' else '' }}"),
            output="'{{ steps.b.output.body.got }}'",
        ),
        [
            Case(None, [("/a", None), ("/b", "succeeded")], "succeeded"),
            Case(
                None,
                [("/a", None), ("/b", "failed remote")],
                "failed remote",
                None,
                "",
                {"a": "failed", "b": "succeeded"},
                {"/a": 404},
            ),
        ],
        goes_on,
    ),
    Scenario(
        "on_error of a step that nobody looks at",
        steps(posts("/a", on_error="continue"), posts("/b")),
        [Case(None, [("/a", None), ("/b", None)], answers={"/a": 500}), Case(None, [("/a", None), ("/b", None)])],
    ),
    Scenario(
        "stop",
        steps(
            kind("halt", stop={"output": {"empty": True}}, if_="not event.body"),
            posts("/a", "{{ event.body }}"),
            output="all",
        ),
        [Case("", [], {"empty": True}), Case("x", [("/a", "x")], "all"), Case(None, [], {"empty": True})],
        stops,
    ),
    Scenario(
        "fail",
        steps(
            posts("/a"),
            kind("no", fail="No such customer: {{ event.body }}", code="not_found", if_="event.body != 'known'"),
            output="found",
        ),
        [
            Case("known", [("/a", None)], "found"),
            Case("Ada", [("/a", None)], None, "not_found", "No such customer: Ada"),
        ],
        fails,
    ),
    Scenario(
        "wait",
        steps(posts("/a"), kind("pause", wait="20s"), posts("/b")),
        [Case(None, [("/a", None), ("/b", None)])],
        waits,
    ),
    Scenario(
        "set",
        steps(
            kind("sums", set={"total": "{{ event.body.prices | sum }}", "who": "Dear {{ event.body.name }}"}),
            posts("/a", ["{{ steps.sums.output.who }}", "{{ steps.sums.output.total + 1 }}"]),
            output="'{{ steps.sums.output }}'",
        ),
        [
            Case({"prices": [1, 2.5], "name": "Ada"}, [("/a", ["Dear Ada", 4.5])], {"total": 3.5, "who": "Dear Ada"}),
            Case({"prices": [], "name": "Bob"}, [("/a", ["Dear Bob", 1])], {"total": 0, "who": "Dear Bob"}),
        ],
        keeps_values,
    ),
    Scenario(
        "switch",
        steps(
            kind(
                "route",
                switch="event.body.country",
                cases={"DE": block(posts("/de", "Moin")), "FR": block(posts("/fr", "Salut"))},
                default=block(posts("/other", "{{ event.body.country }}")),
            ),
            output="'{{ steps.route.output.body.got }}'",
        ),
        [
            Case({"country": "DE"}, [("/de", "Moin")], "Moin", ran={"de": "succeeded"}),
            Case({"country": "FR"}, [("/fr", "Salut")], "Salut", ran={"fr": "succeeded"}),
            Case({"country": "NO"}, [("/other", "NO")], "NO", ran={"other": "succeeded"}),
        ],
        routes,
    ),
    Scenario(
        "switch by numbers and truths, without a default",
        steps(
            kind(
                "route",
                switch="event.body",
                cases={"1": block(posts("/one")), "true": block(posts("/yes")), "null": block(posts("/none")), "x": []},
            ),
            output="'{{ [steps.one.status, steps.yes.status, steps.route.output | default(0)] | length }}'",
        ),
        [
            Case(1, [("/one", None)], 3),
            Case("1", [("/one", None)], 3),
            Case(True, [("/yes", None)], 3),
            Case(None, [("/none", None)], 3),
            Case("x", [], 3),
            Case("y", [], 3),
        ],
    ),
    Scenario(
        "try, catch and finally",
        steps(
            kind(
                "guard",
                try_=block(posts("/a"), posts("/b")),
                catch=block(
                    posts("/sorry", ["{{ error.code }}", "{{ error.step }}"]),
                    kind("said", stop={"output": "{{ steps.sorry.output.body.got }}"}),
                ),
                finally_=block(posts("/clean")),
            ),
            output="fine",
        ),
        [
            Case(None, [("/a", None), ("/b", None), ("/clean", None)], "fine"),
            Case(
                None,
                [("/a", None), ("/b", None), ("/sorry", ["remote", "b"]), ("/clean", None)],
                ["remote", "b"],
                answers={"/b": 404},
            ),
            Case(
                None,
                [("/a", None), ("/sorry", ["remote", "a"]), ("/clean", None)],
                ["remote", "a"],
                ran={"a": "failed", "sorry": "succeeded", "clean": "succeeded"},
                answers={"/a": 404},
            ),
        ],
        guards,
    ),
    Scenario(
        "what a try gives, and what became of what is in it",
        steps(
            kind(
                "guard",
                try_=block(posts("/a"), posts("/b", "{{ event.body }}")),
                catch=block(posts("/c", "{{ error.message | length > 3 }}")),
            ),
            output="'{{ [steps.guard.output.body.got, steps.a.status, steps.b.status, steps.c.status] }}'",
        ),
        [
            Case(7, [("/a", None), ("/b", 7)], [7, "succeeded", "succeeded", "skipped"]),
            Case(
                7,
                [("/a", None), ("/b", 7), ("/c", True)],
                [True, "succeeded", "failed", "succeeded"],
                answers={"/b": 404},
            ),
            Case(7, [("/a", None), ("/c", True)], [True, "failed", "skipped", "succeeded"], answers={"/a": 404}),
        ],
    ),
    Scenario(
        "a try that catches and does nothing",
        steps(kind("guard", try_=block(posts("/a")), catch=[]), posts("/b")),
        [Case(None, [("/a", None), ("/b", None)], answers={"/a": 404})],
    ),
    Scenario(
        "finally without a catch",
        steps(kind("guard", try_=block(posts("/a")), finally_=block(posts("/clean"))), posts("/b")),
        [
            Case(None, [("/a", None), ("/clean", None), ("/b", None)]),
            Case(None, [("/a", None), ("/clean", None)], None, "remote", "404", answers={"/a": 404}),
            Case(None, [("/a", None), ("/clean", None)], None, "remote", "410", answers={"/clean": 410}),
            Case(None, [("/a", None), ("/clean", None)], None, "remote", "404", answers={"/a": 404, "/clean": 410}),
        ],
    ),
    Scenario(
        "try in try",
        steps(
            kind(
                "outer",
                try_=block(
                    kind("inner", try_=block(posts("/a")), catch=block(kind("no", fail="again {{ error.code }}"))),
                    posts("/never"),
                ),
                catch=block(posts("/b", "{{ error.message }}"), posts("/c", "{{ error.step }}")),
            )
        ),
        [
            Case(None, [("/a", None), ("/never", None)]),
            Case(None, [("/a", None), ("/b", "again remote"), ("/c", "no")], answers={"/a": 404}),
        ],
    ),
    Scenario(
        "on_failure",
        steps(
            posts("/a"),
            posts("/b"),
            output="fine",
            on_failure=json.dumps(block(posts("/alert", ["{{ error.step }}", "{{ error.code }}"]))),
        ),
        [
            Case(None, [("/a", None), ("/b", None)], "fine"),
            Case(None, [("/a", None), ("/b", None), ("/alert", ["b", "remote"])], None, "remote", answers={"/b": 404}),
            Case(None, [("/a", None), ("/alert", ["a", "remote"])], None, "remote", answers={"/a": 404, "/alert": 500}),
        ],
        alerts,
    ),
    Scenario(
        "on_failure that looks at what ran",
        steps(
            posts("/a", 3),
            posts("/b"),
            on_failure=json.dumps(
                block(posts("/undo", "{{ steps.a.output.body.got }}", if_="steps.a.status == 'succeeded'"))
            ),
        ),
        [
            Case(None, [("/a", 3), ("/b", None), ("/undo", 3)], None, "remote", answers={"/b": 404}),
            Case(None, [("/a", 3)], None, "remote", answers={"/a": 404}),
        ],
    ),
    Scenario(
        "retry and timeout",
        steps(
            posts("/a", retry={"attempts": 3, "delay": "2s", "backoff": "constant", "on": ["5xx"]}, timeout="10s"),
            posts("/b", retry={}),
        ),
        [
            Case(None, [("/a", None)] * 3, None, "remote", "503", {"a": "failed"}, {"/a": 503}),
            Case(None, [("/a", None)], None, "remote", "404", {"a": "failed"}, {"/a": 404}),
            Case(None, [("/a", None), ("/b", None)]),
        ],
        retries,
    ),
    Scenario(
        "side by side",
        steps(posts("/a"), posts("/b", needs=[]), posts("/c", needs=["a", "b"]), output="'{{ steps.b.status }}'"),
        [
            Case(None, [("/a", None), ("/b", None), ("/c", None)], "succeeded"),
            Case(None, [("/a", None), ("/b", None)], None, "remote", answers={"/a": 404, "/b": 404}),
        ],
        beside,
        in_order=False,
    ),
    Scenario(
        "branches of several steps",
        steps(
            posts("/start", 1),
            posts("/a", "{{ steps.start.output.body.got }}"),
            posts("/a2", "{{ steps.a.output.body.got + 1 }}"),
            posts("/b", 5, needs=["start"], if_="event.body"),
            posts("/c", needs=["start"]),
            posts("/end", ["{{ steps.a2.output.body.got }}", "{{ steps.b.status }}"], needs=["a2", "b", "c"]),
        ),
        [
            Case(
                True,
                [("/start", 1), ("/a", 1), ("/a2", 2), ("/b", 5), ("/c", None), ("/end", [2, "succeeded"])],
            ),
            Case(False, [("/start", 1), ("/a", 1), ("/a2", 2), ("/c", None), ("/end", [2, "skipped"])]),
        ],
        in_order=False,
    ),
    Scenario(
        "everything at once",
        steps(
            posts("/a", "{{ event.body.n }}"),
            kind(
                "guard",
                try_=block(
                    kind(
                        "route",
                        switch="steps.a.output.body.got",
                        cases={"1": block(posts("/one"), kind("no", fail="one", code="ones"))},
                        default=block(posts("/more", "{{ vars.shop }}")),
                    ),
                    kind("halt", stop={"output": "{{ steps.more.output.body.got }}"}, if_="event.body.n > 5"),
                ),
                catch=block(posts("/caught", "{{ error }}")),
                finally_=block(posts("/clean", "{{ steps.route.status }}")),
            ),
            posts("/z", "{{ steps.more.status }}"),
            vars="{shop: 'Acme {{ event.body.n }}'}",
            output="{n: '{{ steps.a.output.body.got }}', text: 'n is {{ event.body.n }}'}",
        ),
        [
            Case(
                {"n": 1},
                [
                    ("/a", 1),
                    ("/one", None),
                    ("/caught", {"message": "one", "code": "ones", "step": "no", "status": None}),
                    ("/clean", "failed"),
                    ("/z", "skipped"),
                ],
                {"n": 1, "text": "n is 1"},
            ),
            Case(
                {"n": 2},
                [("/a", 2), ("/more", "Acme 2"), ("/clean", "succeeded"), ("/z", "succeeded")],
                {"n": 2, "text": "n is 2"},
            ),
            Case({"n": 6}, [("/a", 6), ("/more", "Acme 6"), ("/clean", "succeeded")], "Acme 6"),
        ],
    ),
]
