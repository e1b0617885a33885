"""Played cases as JUnit XML, which CI systems show: https://github.com/testmoapp/junitxml"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from flows.testing.playing import Played, Report

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 can't say, in any spelling."""


def junit(reports: Sequence[Report]) -> str:
    """A document with a suite for each file, and a test for each case."""
    root = Element("testsuites", _counts(reports))
    for report in reports:
        suite = SubElement(root, "testsuite", {"name": str(report.file), **_counts([report])})
        for played in report.played:
            _test(suite, report, played)
        if report.errors:
            test = SubElement(suite, "testcase", {"classname": str(report.file), "name": "the file", "time": "0"})
            message = "\n".join(str(error) for error in report.errors)
            SubElement(test, "error", {"message": _xml(str(report.errors[0]))}).text = _xml(message)
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _test(suite: Element, report: Report, played: Played) -> None:
    name = {"classname": str(report.file), "name": _xml(played.case.name), "time": f"{played.seconds:.4f}"}
    test = SubElement(suite, "testcase", name)
    if played.faults:
        text = "\n".join(line for fault in played.faults for line in (fault.place, *(f"  {one}" for one in fault.said)))
        SubElement(test, "failure", {"message": played.faults[0].place}).text = _xml(text)


def _counts(reports: Sequence[Report]) -> dict[str, str]:
    played = [one for report in reports for one in report.played]
    errors = sum(bool(report.errors) for report in reports)
    return {
        "tests": str(len(played) + errors),
        "failures": str(sum(bool(one.faults) for one in played)),
        "errors": str(errors),
        "time": f"{sum(one.seconds for one in played):.4f}",
    }


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
