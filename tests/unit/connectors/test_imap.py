"""`imap.messages`, against a small IMAP server on this machine."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from imap_server import PASSWORD, USER, ImapServer, imap_server

from connectors import imap
from connectors.kit.credential_check import check_credential
from connectors.kit.testing import acting
from foundation.errors import ActionError, ConnectionFailed, CredentialError, StepTimeout


def mail(subject: str = "Hello", body: str = "Hi!", **headers: str) -> bytes:
    named = {
        "From": "Ann <ann@example.com>",
        "Subject": subject,
        **{key.replace("_", "-"): v for key, v in headers.items()},
    }
    lines = [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join([*lines, "", body, ""]).encode()


@asynccontextmanager
async def mailbox(*mails: bytes, **credential: Any) -> AsyncIterator[ImapServer]:
    async with imap_server() as server:
        server.deliver(*mails)
        given = {"host": "127.0.0.1", "port": server.port, "username": USER, "password": PASSWORD, "tls": False}
        async with acting(credentials={"mine": given | credential}):
            yield server


async def read(**arguments: Any) -> Any:
    return await imap.messages(credential="mine", **arguments)


def subjects(found: Any) -> list[str]:
    return [message["subject"] for message in found["messages"]]


async def test_a_message_is_read_as_data_and_stays_unread():
    async with mailbox(mail("Order 7", To="shop@example.com", Date="Thu, 01 Jan 2026 10:00:00 +0100")) as server:
        found = await read()
    assert found["last"] == "7.1"
    assert not found["more"]
    [message] = found["messages"]
    assert message == {
        "id": "7.1",
        "message_id": None,
        "date": "2026-01-01T09:00:00Z",
        "subject": "Order 7",
        "sender": {"name": "Ann", "address": "ann@example.com"},
        "reply_to": [],
        "to": [{"name": "", "address": "shop@example.com"}],
        "cc": [],
        "text": "Hi!\r\n",
        "html": None,
        "attachments": [],
        "size": len(server.messages[1][0]),
        "flags": [],
        "whole": True,
    }
    assert server.commands[-1] == "LOGOUT"


async def test_what_came_since_is_read_the_oldest_first_and_the_rest_is_left():
    async with mailbox(mail("1"), mail("2")) as server:
        first = await read(limit=1)
        assert (subjects(first), first["last"]) == (["2"], "7.2")
        nothing = await read(after=first["last"])
        assert (nothing["messages"], nothing["last"], nothing["more"]) == ([], "7.2", False)
        server.deliver(mail("3"), mail("4"), mail("5"))
        some = await read(after=first["last"], limit=2)
        assert (subjects(some), some["last"], some["more"]) == (["3", "4"], "7.4", True)
        rest = await read(after=some["last"], limit=2)
        assert (subjects(rest), rest["last"], rest["more"]) == (["5"], "7.5", False)


async def test_an_empty_mailbox_has_a_last_too():
    async with mailbox() as server:
        empty = await read()
        assert (empty["messages"], empty["last"]) == ([], "7.0")
        server.deliver(mail("1"))
        assert subjects(await read(after=empty["last"])) == ["1"]


async def test_a_mailbox_that_was_made_anew_is_read_from_its_newest_messages():
    async with mailbox(mail("1"), mail("2")) as server:
        server.validity = 8
        found = await read(after="7.9", limit=1)
    assert (subjects(found), found["last"]) == (["2"], "8.2")


async def test_what_is_read_can_be_left_out():
    async with mailbox(mail("1")) as server:
        server.deliver(mail("2"), flags="\\Seen")
        server.deliver(mail("3"), flags="\\Flagged")
        found = await read(unseen=True)
        since = await read(unseen=True, after="7.1")
    assert (subjects(found), found["last"]) == (["1", "3"], "7.3")
    assert (subjects(since), since["messages"][0]["flags"]) == (["3"], ["\\Flagged"])


async def test_of_a_very_large_message_the_headers_are_read(monkeypatch):
    monkeypatch.setattr(imap, "WHOLE_BYTES", 1_000)
    async with mailbox(mail("small"), mail("large", body="x" * 1_000)):
        small, large = (await read())["messages"]
    assert (small["whole"], small["text"]) == (True, "Hi!\r\n")
    assert (large["whole"], large["subject"], large["text"]) == (False, "large", None)


async def test_what_is_too_much_together_is_left_for_the_next_call(monkeypatch):
    monkeypatch.setattr(imap, "TOGETHER_BYTES", 250)
    async with mailbox(*(mail(str(n), body="x" * 100) for n in range(1, 4))):
        first = await read(after="7.0")
        second = await read(after=first["last"])
        newest = await read()
    assert (subjects(first), first["last"], first["more"]) == (["1"], "7.1", True)
    assert (subjects(second), second["more"]) == (["2"], True)
    assert (subjects(newest), newest["last"]) == (["3"], "7.3")


async def test_a_folder_may_have_any_name():
    async with mailbox(mail("1")) as server:
        server.mailboxes = ('R&-D "Entw&APw-rfe"',)
        assert subjects(await read(mailbox='R&D "Entw\u00fcrfe"')) == ["1"]
        with pytest.raises(ActionError, match="mailbox 'Archive' can't be opened: no such mailbox"):
            await read(mailbox="Archive")


@pytest.mark.parametrize("name", ["INBOX\r\nA1 DELETE INBOX", "a\x00b"])
async def test_a_name_can_not_become_another_command(name):
    async with mailbox() as server:
        with pytest.raises(ActionError, match="has control characters"):
            await read(mailbox=name)
    assert not any("DELETE" in command for command in server.commands)


async def test_a_refused_login_is_an_error_that_does_not_quote_the_password():
    async with mailbox(password="wrong-s3cret") as server:
        with pytest.raises(CredentialError, match="refuses the login of credential 'mine': no such user") as refused:
            await read()
    assert "wrong-s3cret" not in str(refused.value)
    assert refused.value.retriable is False
    assert server.commands[-1] == "LOGOUT"


async def test_no_log_has_the_password_or_a_mail(caplog):
    caplog.set_level("DEBUG")
    async with mailbox(mail(body="confidential")):
        assert (await read())["messages"]
    assert "s3cret" not in caplog.text
    assert "confidential" not in caplog.text


async def test_a_server_that_is_not_there_may_be_tried_again():
    async with mailbox(port=9):
        with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:9 could not be reached") as failed:
            await read()
    assert failed.value.retriable


@pytest.mark.parametrize("command", ["LOGIN", "SELECT", "UID SEARCH", "UID FETCH"])
async def test_a_server_that_does_not_answer_is_a_timeout(command, monkeypatch):
    monkeypatch.setattr(imap, "COMMAND_SECONDS", 0.05)
    monkeypatch.setattr(imap, "GOODBYE_SECONDS", 0.05)
    async with mailbox(mail("1")) as server:
        server.hangs_at = command
        with pytest.raises(StepTimeout, match="did not answer in time") as failed:
            await read()
    assert failed.value.retriable
    assert PASSWORD not in str(failed.value)


@pytest.mark.parametrize("command", ["LOGIN", "UID FETCH"])
async def test_a_connection_that_breaks_may_be_tried_again(command, monkeypatch):
    monkeypatch.setattr(imap, "COMMAND_SECONDS", 0.2)
    async with mailbox(mail("1")) as server:
        server.breaks_at = command
        with pytest.raises((ConnectionFailed, StepTimeout)) as failed:
            await read()
    assert failed.value.retriable


async def test_a_server_without_a_certificate_is_not_told_the_password(monkeypatch):
    monkeypatch.setattr(imap, "COMMAND_SECONDS", 1)
    async with mailbox(tls=True) as server:
        with pytest.raises((ConnectionFailed, StepTimeout)):
            await read()
    assert not any("LOGIN" in command for command in server.commands)
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"limit": 0}, "limit is from 1 to 200, got 0"), ({"after": "yesterday"}, "the `last` of an earlier call")],
)
async def test_what_can_not_be_asked_is_refused(arguments, said):
    async with mailbox():
        with pytest.raises(ActionError, match=said):
            await read(**arguments)


async def test_a_credential_can_be_tried():
    async with imap_server() as server:
        server.deliver(mail("1"))
        given = {"host": "127.0.0.1", "port": server.port, "username": USER, "password": PASSWORD, "tls": False}
        async with acting(credentials={"mine": given}) as stage:
            assert (
                await check_credential("mine", "imap", stage.services) == "the server lets it in; INBOX has 1 messages"
            )
