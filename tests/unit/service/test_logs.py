"""What others send can't forge a line of the log, colour a terminal, or write past the masking."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

from foundation.masking import Masker
from ipaas.logs import log_handler

FORGED = (
    "/hooks/x\n2026-01-01 00:00:00,000 ERROR   ipaas: all is lost\r\x1b[31mred\x9b31m\x00\x7f\u2028end\u202egnp\ud800"
)


def logged(*, as_text: bool, **given: object) -> str:
    stream = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(log_handler(stream, as_text=as_text, masker=Masker()))
    try:
        raise ValueError(f"{FORGED} in an error")
    except ValueError:
        logger.error("refused %s", FORGED, exc_info=bool(given.get("exc_info")), extra={"path": FORGED})
    return stream.getvalue()


def is_plain(text: str) -> bool:
    return not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in text)


def test_a_text_line_is_one_line_whatever_was_sent() -> None:
    [line, rest] = logged(as_text=True).split("\n")
    assert rest == ""
    assert is_plain(line)
    assert r"refused /hooks/x\n2026-01-01 00:00:00,000 ERROR   ipaas: all is lost\r\x1b[31mred\x9b31m" in line
    assert line.endswith(r"\x00\x7f\u2028end\u202egnp\ud800")


def test_a_traceback_stays_readable_and_none_of_its_lines_can_pass_for_a_record() -> None:
    first, *traceback = logged(as_text=True, exc_info=True).rstrip("\n").split("\n")
    assert "ERROR   test: refused" in first
    assert traceback[0] == "    Traceback (most recent call last):"
    assert any("raise ValueError(" in line for line in traceback)
    assert "    2026-01-01 00:00:00,000 ERROR   ipaas: all is lost" in traceback
    assert all(line.startswith("    ") and is_plain(line) for line in traceback)


def test_a_json_line_is_one_line_and_says_what_was_sent() -> None:
    text = logged(as_text=False, exc_info=True)
    assert text.count("\n") == 1
    assert is_plain(text.rstrip("\n"))
    assert len(text.splitlines()) == 1
    line = json.loads(text)
    assert (line["message"], line["path"]) == (f"refused {FORGED}", FORGED)
    assert line["exception"].endswith("in an error")


def test_every_logger_writes_through_the_masking() -> None:
    """In a process of its own, in which Prefect has set up its loggers."""
    names = ("uvicorn.error", "fastapi", "prefect._internal", "prefect.server", "ipaas")
    program = f"""
import logging
from prefect import flow
from foundation.masking import process_masker
from foundation.settings import Settings
from ipaas.logs import set_up_logging
process_masker.add("s3cret-1")
set_up_logging(Settings(log_format="text"))
for name in {names}:
    logging.getLogger(name).error("it is s3cret-1\\nforged")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    written = [line.partition("ERROR   ")[2] for line in done.stderr.splitlines()]
    assert written == [f"{name}: it is ********\\nforged" for name in names]
