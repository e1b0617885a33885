"""Logs: text on a terminal, else JSON lines with the ids of what they are about. In both, secrets are masked and a
record is one line."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from foundation.errors import IpaasError
from foundation.log_fields import current_log_fields
from foundation.masking import Masker, MaskingFilter, process_masker
from foundation.printable import printable, printable_json
from foundation.settings import Settings

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
"""What these say goes to Prefect's database too, through a handler of Prefect's: it is masked before any handler."""
PREFECTS_OWN = ("uvicorn", "fastapi", "prefect._internal")
"""Prefect gives these handlers of its own when it is imported: they would write past ours, unmasked."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextLines(logging.Formatter):
    """One line a record: what others sent can't begin another one. A traceback follows, each of its lines indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        lines = [printable(self.formatMessage(record))]
        for text in (_exception(self, record), record.stack_info):
            lines += (f"    {printable(line)}" for line in (text or "").splitlines())
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whatever `extra` gave."""

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        document |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if exception := _exception(self, record):
            document["exception"] = exception
        return printable_json(json.dumps(document, default=str, ensure_ascii=False))


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    return record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else None)


class FieldsFilter(logging.Filter):
    """Gives a record the `log_fields` it was logged within. Put it on handlers, before the masking."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in current_log_fields().items():
            record.__dict__.setdefault(name, value)
        return True


class OneLineFailures(logging.Filter):
    """Leaves the traceback out of a failure that is ours and says in one line what is wrong and what to do."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], IpaasError):
            record.exc_info = None
        return True


class SparseLog:
    """Warnings that a sender can cause at will: at most one a second is written, with how many were left out."""

    def __init__(self, logger: logging.Logger, now: Callable[[], float] = time.monotonic) -> None:
        self._logger, self._now = logger, now
        self._next, self._left_out = float("-inf"), 0

    def warning(self, message: str, *args: object) -> None:
        if self._now() < self._next:
            self._left_out += 1
            return
        if self._left_out:
            message, args = f"{message} (and %d more like this since the last line)", (*args, self._left_out)
        self._logger.warning(message, *args)
        self._next, self._left_out = self._now() + 1, 0


def log_handler(stream: TextIO, *, as_text: bool, masker: Masker = process_masker) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextLines() if as_text else JsonLines())
    handler.addFilter(FieldsFilter())
    handler.addFilter(MaskingFilter(masker))
    return handler


def set_up_logging(settings: Settings) -> None:
    """Sends all logs to standard error, in the format the settings ask for."""
    as_text = settings.log_format == "text" or (settings.log_format is None and sys.stderr.isatty())
    root = logging.getLogger()
    root.handlers = [log_handler(sys.stderr, as_text=as_text)]
    root.setLevel(logging.WARNING)
    logging.getLogger("ipaas").setLevel(logging.INFO)
    for name in PREFECTS_OWN:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    for name in RUN_LOGGERS:
        logger = logging.getLogger(name)
        others = [one for one in logger.filters if not isinstance(one, (OneLineFailures, MaskingFilter))]
        logger.filters = [*others, OneLineFailures(), MaskingFilter(process_masker)]


@contextmanager
def silent() -> Iterator[None]:
    """Within it our own lines are not logged: what a test case expects to go wrong is no news."""
    logger = logging.getLogger("ipaas")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
