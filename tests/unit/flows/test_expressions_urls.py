"""Addresses: what a value becomes in each place of a URL, and that it can't leave it."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.expressions import Placeholder, compile_url, compile_value, literal_hosts
from foundation.errors import ExpressionError


def render(text, **scope):
    return compile_url(text, scope).render(scope)


def the_problem(text, **scope) -> str:
    with pytest.raises(ExpressionError) as caught:
        render(text, **scope)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("https://a.example/orders/{{ x }}", "1/../2?q=1#f", "https://a.example/orders/1%2F..%2F2%3Fq%3D1%23f"),
        ("https://a.example/orders/{{ x }}/lines", "a b", "https://a.example/orders/a%20b/lines"),
        ("https://a.example/orders/{{ x }}", 12, "https://a.example/orders/12"),
        ("https://a.example/orders/{{ x }}", True, "https://a.example/orders/true"),
        ("https://a.example/orders/{{ x }}", "ä@:;\\", "https://a.example/orders/%C3%A4%40%3A%3B%5C"),
        (
            "https://a.example/at/{{ x }}",
            datetime(2026, 1, 2, tzinfo=UTC),
            "https://a.example/at/2026-01-02T00%3A00%3A00Z",
        ),
        ("https://a.example/orders/no-{{ x }}", "", "https://a.example/orders/no-"),
        ("https://a.example/{{ x }}.json", "..", "https://a.example/...json"),
        ("https://a.example/find?q={{ x }}", "a&b=c#d e/f", "https://a.example/find?q=a%26b%3Dc%23d%20e%2Ff"),
        ("https://a.example/find?q={{ x }}&n=1", "", "https://a.example/find?q=&n=1"),
        ("https://a.example?{{ x }}=1", "a=b", "https://a.example?a%3Db=1"),
        ("https://a.example/#{{ x }}", "a#b", "https://a.example/#a%23b"),
        ("https://{{ x }}.a.example/", "shop-1", "https://shop-1.a.example/"),
        ("https://{{ x }}/v1", "api.a.example", "https://api.a.example/v1"),
        ("https://a.example:{{ x }}/", 8080, "https://a.example:8080/"),
        ("//{{ x }}/v1", "a", "//a/v1"),
        ("/orders/{{ x }}", "a/b", "/orders/a%2Fb"),
        ("orders/{{ x }}", "a/b", "orders/a%2Fb"),
        ("http{{ x }}://a.example/", "s", "https://a.example/"),
        ("https://a.example/a b/ä?{{ x }}", "1", "https://a.example/a b/ä?1"),  # what is written stays
        ("https://a.example/{{ x | urlencode }}", "a/b", "https://a.example/a%2Fb"),  # encoded once
        ("https://a.example/?{{ x | urlencode }}", {"a b": "c&d", "n": 1}, "https://a.example/?a+b=c%26d&n=1"),
    ],
)
def test_a_value_is_encoded_for_its_place(text, value, expected) -> None:
    assert render(text, x=value) == expected


@pytest.mark.parametrize("value", ["", ".", ".."])
@pytest.mark.parametrize(
    "text", ["https://a.example/x/{{ v }}", "https://a.example/{{ v }}/y", "/{{ v }}?q=1", "{{ b }}/{{ v }}"]
)
def test_a_segment_that_would_lead_elsewhere_is_refused(text, value) -> None:
    assert "path: it would lead to another address" in the_problem(text, v=value, b="https://a.example")


@pytest.mark.parametrize(
    "text", ["/x/.{{ v }}", "/x/{{ v }}{{ v }}", "/x/%2e{{ v }}/", "/x/{{ v }}%2E", "/x/{{ '' }}{{ v }}{{ '' }}#y"]
)
def test_a_segment_counts_as_a_whole(text) -> None:
    assert "is no segment" in the_problem(text, v=".")


@pytest.mark.parametrize(
    "value",
    [
        "evil.example/",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        "a:b",
        "a\\b",
        "a b",
        "",
        "a%2Fb",
        "ä",
        ".a",
        "a.",
        "a..b",
        "a\n",
        "。",
    ],
)
@pytest.mark.parametrize(
    "text", ["https://{{ x }}.a.example/", "https://{{ x }}/", "https://a.example:{{ x }}/", "https://u:{{ x }}@h/"]
)
def test_a_value_can_not_change_the_host(text, value) -> None:
    assert "can only have letters" in the_problem(text, x=value)


@pytest.mark.parametrize("text", ["https://a.example{{ x }}/", "https://a.example{{ x }}", "{{ base }}{{ x }}/y"])
def test_a_value_can_not_go_on_with_a_host_behind_a_dot(text) -> None:
    assert "can only have letters" in the_problem(text, x=".evil.example", base="https://a.example")


@pytest.mark.parametrize("value", [None, [], {}, ["a"]])
@pytest.mark.parametrize("text", ["https://a.example/{{ x }}", "https://a.example/?q={{ x }}", "https://{{ x }}/"])
def test_what_has_no_form_in_an_address_is_refused(text, value) -> None:
    assert "has no form in an address" in the_problem(text, x=value)


@pytest.mark.parametrize("value", ["https://b.example/x?y=1#z", "not an address", None, 1])
def test_one_expression_alone_is_the_whole_address(value) -> None:
    assert render("{{ x }}", x=value) == value


def test_a_text_may_begin_with_its_base_address() -> None:
    base = "https://a.example/v1"
    assert render("{{ base }}/orders/{{ x }}?q={{ x }}", base=base, x="a/b") == f"{base}/orders/a%2Fb?q=a%2Fb"
    assert render("{{ base }}&page={{ x }}", base=f"{base}?a=1", x="2&3") == f"{base}?a=1&page=2%263"
    assert render("{{ base }}{{ x }}", base=f"{base}/", x="a/b") == f"{base}/a%2Fb"


@pytest.mark.parametrize(
    ("text", "base", "problem"),
    [
        ("{{ base }}/orders", "https://a.example?x=", "has a query"),
        ("{{ base }}?q=1", "https://a.example?x=1", "has a query"),
        ("{{ base }}/orders", "https://a.example#", "has a fragment"),
        ("{{ base }}{{ base }}", "https://a.example#", "has a fragment"),
        ("{{ base }}/orders", 1, "begins with a text, not with a number"),
        ("{{ base }}/orders", None, "begins with a text, not with null"),
    ],
)
def test_a_base_that_would_swallow_what_follows_is_refused(text, base, problem) -> None:
    assert problem in the_problem(text, base=base)


def test_safe_url_hands_over_a_value_as_it_is() -> None:
    assert render("https://a.example/{{ x | safe_url }}", x="b/../c?d#e") == "https://a.example/b/../c?d#e"
    assert render("https://{{ x | safe_url }}/{{ y }}", x="b.example:1", y="/") == "https://b.example:1/%2F"
    assert render("{{ x | safe_url }}/{{ y }}", x="https://b.example", y="/") == "https://b.example/%2F"
    assert render("/a/{{ x | safe_url }}{{ y }}", x="b?c=", y="/&") == "/a/b?c=%2F%26"


def test_outside_addresses_safe_url_gives_the_plain_text() -> None:
    rendered = compile_value(
        {"a": "{{ x | safe_url }}", "b": "{{ x | safe_url }}!", "c": ["{{ [x | safe_url] }}"]}, ["x"]
    )
    assert rendered.render({"x": "/?"}) == {"a": "/?", "b": "/?!", "c": [["/?"]]}
    assert type(compile_value("{{ x | safe_url }}", ["x"]).render({"x": "/?"})) is str
    assert compile_value("{{ [x, x | safe_url] | unique }}", ["x"]).render({"x": "/?"}) == ["/?"]


def test_only_the_arguments_that_are_addresses_are_encoded() -> None:
    arguments = {"url": "/a/{{ x }}", "text": "/a/{{ x }}", "more": {"url": "/a/{{ x }}"}, "raw": "{{ x }}"}
    expression = compile_value(arguments, ["x"], urls=["url", "absent"], verbatim=["raw"])
    assert expression.render({"x": "b/c"}) == {
        "url": "/a/b%2Fc",
        "text": "/a/b/c",
        "more": {"url": "/a/b/c"},
        "raw": "{{ x }}",
    }
    assert compile_value({"url": ["/a/{{ x }}"]}, ["x"], urls=["url"]).render({"x": "b/c"}) == {"url": ["/a/b/c"]}


def test_what_an_address_refers_to_and_what_is_wrong_with_it_is_known_before_it_runs() -> None:
    assert compile_url("https://a.example/{{ steps.find.output }}").references == {"find"}
    with pytest.raises(ExpressionError, match="unknown filter 'saveurl'"):
        compile_url("/{{ x | saveurl }}", ["x"])


def test_a_dry_run_shows_its_placeholders() -> None:
    assert render("https://a.example/{{ x.id }}?q={{ x.q }}", x=Placeholder("<find.output>")) == (
        "https://a.example/<find.output.id>?q=<find.output.q>"
    )


def test_the_length_of_an_address_is_bounded() -> None:
    assert "longer than" in the_problem("/a?{{ x }}{{ x }}", x="x" * 600_000)


@given(st.text(), st.text())
def test_no_value_leaves_its_place(segment, query) -> None:
    try:
        written = render("https://a.example/x/{{ s }}/y?q={{ q }}&r=1", s=segment, q=query)
    except ExpressionError:
        assert segment in ("", ".", "..")
        return
    parts = urlsplit(written)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "a.example", "")
    assert [unquote(part) for part in parts.path.split("/")] == ["", "x", segment, "y"]
    assert [unquote(part) for part in parts.query.split("&")] == [f"q={query}", "r=1"]


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        ("https://stock.example/{{ x }}", {"stock.example:443"}),
        ("https://stock.example", {"stock.example:443"}),
        ("HTTP://Stock.Example:8080?{{ x }}", {"stock.example:8080"}),
        ("http://user:pw@127.0.0.1:9/x", {"127.0.0.1:9"}),
        ("http://[::1]/x", {"[::1]:80"}),
        ("see http://a.example and http://b.example/", {"a.example:80", "b.example:80"}),
        ("{{ x }} https://a.example/{{ y }}", {"a.example:443"}),
        ("https://{{ x }}.example/", set()),
        ("https://stock.example{{ x }}/", set()),
        ("https://stock.example:{{ x }}/", set()),
        ("https://stock.{{ x }}/", set()),
        ("https://stock.example@{{ x }}/", set()),
        ("{{ x }}/a", set()),
        ("{{ x }}://stock.example/", set()),
        ("http{{ x }}://stock.example/", set()),
        ("{{ 'https://stock.example/v1/' ~ x }}", {"stock.example:443"}),
        ("{{ x | default('http://127.0.0.1:9/') }}", {"127.0.0.1:9"}),
        ("{{ 'https://stock.example' ~ x }}", set()),
        ("ftp://stock.example/ xhttp://stock.example/ //stock.example/", set()),
        ({"a": ["https://a.example/"], "b": {"c": "http://b.example"}, "n": 1}, {"a.example:443", "b.example:80"}),
        ({"https://key.example/": "x"}, set()),
        (None, set()),
    ],
)
def test_hosts_that_stand_literally_are_known(value, hosts) -> None:
    assert literal_hosts(value) == hosts
