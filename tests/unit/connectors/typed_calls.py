"""What a type checker sees of an action: the author's signature. Checked by mypy (strict), never run."""

from __future__ import annotations

from typing import assert_type

from connectors import http, slack


async def right() -> None:
    posted = await slack.post_message(channel="#orders", text="hi", credential="team")
    assert_type(posted, slack.PostedMessage)
    assert_type(posted["ts"], str)
    assert_type(await http.request(url="http://127.0.0.1:9/"), http.HttpResponse)
    assert_type(await slack.post_message.fn(channel="#a", text="hi", credential="team"), slack.PostedMessage)
    changed = slack.post_message.with_options(task_run_name="notify")
    assert_type(await changed(channel="#a", text="hi", credential="team"), slack.PostedMessage)


async def wrong() -> None:
    await slack.post_message(channel="#orders", text="hi")  # type: ignore[call-overload]  # no credential
    await slack.post_message(channel=1, text="hi", credential="team")  # type: ignore[call-overload]  # no string
    await slack.post_message(chanel="#a", credential="team")  # type: ignore[call-overload]  # misspelt
    (await http.request(url="http://127.0.0.1:9/"))["stats"]  # type: ignore[misc]  # misspelt
