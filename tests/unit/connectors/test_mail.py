"""A mail as data, however badly it is written."""

from __future__ import annotations

from email.message import EmailMessage

from hypothesis import given
from hypothesis import strategies as st

from connectors.kit.mail import read_mail


def test_text_html_and_attachments_are_told_apart():
    mail = EmailMessage()
    mail["From"], mail["To"] = "Gr\u00fc\u00dfe <ann@example.com>", "a@example.com, B <b@example.com>"
    mail["Subject"], mail["Message-ID"] = "Gr\u00fc\u00dfe \U0001f4a5", "<1@example.com>"
    mail.set_content("plain \u00fc")
    mail.add_alternative("<p>html \u00fc</p>", subtype="html")
    mail.add_attachment(b"12345", maintype="application", subtype="pdf", filename="Rechnung \u00fc.pdf")
    mail.add_attachment("a,b", subtype="csv", filename="list.csv")
    read = read_mail(mail.as_bytes())
    assert (read["subject"], read["message_id"]) == ("Gr\u00fc\u00dfe \U0001f4a5", "<1@example.com>")
    assert read["sender"] == {"name": "Gr\u00fc\u00dfe", "address": "ann@example.com"}
    assert [to["address"] for to in read["to"]] == ["a@example.com", "b@example.com"]
    assert (read["text"], read["html"]) == ("plain \u00fc\n", "<p>html \u00fc</p>\n")
    assert [(one["filename"], one["content_type"]) for one in read["attachments"]] == [
        ("Rechnung \u00fc.pdf", "application/pdf"),
        ("list.csv", "text/csv"),
    ]
    assert read["attachments"][0]["size"] == 5


def test_what_is_wrong_with_a_mail_is_left_out():
    read = read_mail(
        b"From: =?nonsense?B?!!?= <a@example.com>\r\nDate: soon\r\nSubject: =?utf-8?B?R3J1w59?=\r\n folded\r\n"
        b"Content-Type: text/plain; charset=klingon\r\n\r\n\xe4"
    )
    assert (read["date"], read["text"]) == (None, "\u00e4")
    assert read["sender"]
    assert read["sender"]["address"] == "a@example.com"
    assert "folded" in read["subject"]


def test_nothing_is_a_mail_too():
    read = read_mail(b"")
    assert (read["subject"], read["sender"], read["to"], read["text"], read["attachments"]) == ("", None, [], "", [])


@given(st.binary(max_size=300), st.sampled_from(["From", "Subject", "Date", "Content-Type", "To"]))
def test_no_mail_is_an_error(content: bytes, header: str):
    read_mail(content)
    read_mail(header.encode() + b": " + content + b"\r\n\r\n" + content)
