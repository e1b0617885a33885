"""What a picture of a workflow is made of."""

from __future__ import annotations

import textwrap

from connectors.kit.registry import registry
from flows.language.definition import Declaration
from flows.language.graph import Graph, Node
from flows.language.python_graph import graph_of_function
from flows.language.yaml_source import load_workflow

SAY = "uses: log.message, with: {text: x}"


def graph(steps: str, more: str = "") -> Graph:
    workflow = load_workflow(f"name: w\nsteps:\n{textwrap.indent(textwrap.dedent(steps), '  ')}\n{more}")
    workflow.compile(registry())
    return workflow.graph()


def node(found: Graph, name: str) -> Node:
    return next(one for one in found.every_node() if one.id == name)


def of_code(body: str) -> Graph:
    head = """\
        import asyncio
        from connectors import http, slack
        from connectors.log import message as say
        from flows import Event, sleep, workflow

        @workflow()
        async def other(event): await http.request(url="of another one")

        @workflow(name="mine")
        async def something(event: Event):
    """
    source = textwrap.dedent(head) + textwrap.indent(textwrap.dedent(body), "    ")
    return graph_of_function(source, Declaration(name="mine"), registry())


def ids(found: Graph) -> list[str]:
    return [one.id for one in found.nodes]


def test_steps_wait_as_they_run() -> None:
    found = graph(f"- {{id: a, {SAY}}}\n- {{id: b, {SAY}}}\n- {{id: c, needs: [a], {SAY}}}")
    assert found.edges == (("a", "b"), ("a", "c"))


def test_a_trigger_comes_before_every_step_that_waits_for_none() -> None:
    found = graph(
        f"- {{id: a, {SAY}}}\n- {{id: b, needs: [], {SAY}}}",
        "triggers: [{webhook: {auth: none}}, {schedule: {every: 10m}}]",
    )
    assert [(one.kind, one.label) for one in found.nodes[:2]] == [
        ("webhook", "POST /hooks/w"),
        ("schedule", "every 600 s"),
    ]
    assert {edge for edge in found.edges if edge[0].startswith("<")} == {
        (f"<trigger {number}>", step) for number in (1, 2) for step in "ab"
    }


def test_each_kind_says_in_its_authors_words_what_it_does() -> None:
    found = graph(f"""
        - {{id: use, if: event.body.big, {SAY}}}
        - {{id: values, set: {{total: 1, who: you}}}}
        - {{id: loop, for_each: event.body.items, as: line, steps: [{{id: one, {SAY}}}]}}
        - {{id: short, for_each: [1, 2], {SAY}}}
        - {{id: again, repeat: {{until: steps.look.output}}, steps: [{{id: look, {SAY}}}]}}
        - {{id: pause, wait: 2s}}
        - {{id: due, wait: {{until: "{{{{ event.body.due }}}}"}}}}
        - {{id: paid, wait: {{signal: "paid-1", timeout: 3d}}}}
        - {{id: back, wait: {{callback: true}}}}
        - {{id: ask, approve: {{message: "Sure?", notify: [{{id: mail, {SAY}}}]}}}}
        - {{id: other, call: another-one}}
        - {{id: tell, signal: "paid-2"}}
        - {{id: end, if: event.body.enough, stop: {{output: 1}}}}
        - {{id: bad, fail: "No such {{{{ event.body.it }}}}", on_error: continue}}
    """)
    assert {one.id: one.label for one in found.nodes} == {
        "use": "log.message",
        "values": "total, who",
        "loop": "line of event.body.items",
        "short": "item of 2 items: log.message",
        "again": "until steps.look.output",
        "pause": "for 2 s",
        "due": "until {{ event.body.due }}",
        "paid": "for paid-1",
        "back": "for a callback",
        "ask": "Sure?",
        "other": "another-one",
        "tell": "paid-2",
        "end": "",
        "bad": "No such {{ event.body.it }}",
    }
    assert node(found, "ask").groups[0].label == "notify"
    assert node(found, "use").condition == "event.body.big"
    assert node(found, "bad").may_fail


def test_branches_and_rounds_are_groups() -> None:
    found = graph(f"""
        - {{id: route, switch: event.body.to, cases: {{DE: [{{id: de, {SAY}}}]}}, default: [{{id: other, {SAY}}}]}}
        - {{id: guarded, try: [{{id: risky, {SAY}}}], catch: [{{id: sorry, {SAY}}}], finally: [{{id: last, {SAY}}}]}}
        - {{id: loop, for_each: event.body, steps: [{{id: inner, for_each: item, steps: [{{id: one, {SAY}}}]}}]}}
    """)
    assert [(group.label, ids(group.graph)) for group in node(found, "route").groups] == [
        ("DE", ["de"]),
        ("default", ["other"]),
    ]
    assert node(found, "route").edges == ()
    assert node(found, "guarded").edges == (("try", "catch"), ("try", "finally"), ("catch", "finally"))
    assert [group.repeats for group in node(found, "inner").groups] == [True]
    assert not any(group.repeats for group in node(found, "guarded").groups)


def test_on_failure_stands_apart() -> None:
    found = graph(f"- {{id: a, {SAY}}}", f"on_failure: [{{id: alert, {SAY}}}]")
    assert not node(found, "<on_failure>").is_step
    assert ids(node(found, "<on_failure>").groups[0].graph) == ["alert"]
    assert not any("<on_failure>" in edge for edge in found.edges)


def test_of_a_function_the_calls_of_actions_are_seen_by_whatever_name_they_have() -> None:
    found = of_code("""
        a = await http.request(url="x")
        await say(text=print(a))
        await http.request(url="y")
        await sleep("2h")
        await somewhere.request(url="z")
    """)
    assert [(one.id, one.kind, one.label) for one in found.nodes] == [
        ("http.request", "uses", "http.request"),
        ("log.message", "uses", "log.message"),
        ("http.request-2", "uses", "http.request"),
        ("sleep", "sleep", "'2h'"),
    ]
    assert found.edges[0] == ("http.request", "log.message")


def test_of_a_function_what_is_gathered_stands_side_by_side() -> None:
    found = of_code("""
        await asyncio.gather(http.request(url="x"), http.request(url="y"))
        await say(text="done")
    """)
    assert found.edges == (("http.request", "log.message"), ("http.request-2", "log.message"))


def test_of_a_function_branches_and_loops_are_groups_and_those_without_actions_are_left_out() -> None:
    found = of_code("""
        if event.body:
            print(1)
        if event.body["x"] > 3:
            for line in event.body["lines"]:
                await http.request(url=line)
        elif await say(text="?"):
            await http.request(url="x")
        try:
            await http.request(url="y")
        except ValueError:
            await say(text="no")
        async def inner(): await say(text="never")
        return (await say(text="last"))["text"]
    """)
    branch, tried, last = found.nodes
    assert (branch.kind, branch.label) == ("if", "event.body['x'] > 3")
    assert [group.label for group in branch.groups] == ["yes", "no"]
    assert branch.groups[0].graph.nodes[0].groups[0].repeats
    assert tried.edges == (("try", "except ValueError"),)
    assert last.label == "log.message"
