"""Writes those parts of the reference that the code knows best. Run it after a change: `python docs/generate.py`.

A page says where: everything between `<!-- generated: NAME -->` and `<!-- end -->` is replaced. A test fails when a
page is not what this would write.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import typer.main
from fastapi import FastAPI
from pydantic_core import PydanticUndefined

from blocks import BLOCK_TYPES, Credential
from connectors.kit import descriptions
from connectors.kit.action import Action
from connectors.kit.registry import BUILT_IN, connectors, load_connectors
from connectors.webhooks import PRESETS, Scheme, build_scheme, credential_types
from connectors.webhooks.options import GENERIC
from flows.language.schema import language_schema
from flows.testing.answering import StubbedAnswer
from flows.testing.cases import (
    Case,
    Cases,
    Expect,
    ExpectedAnswer,
    ExpectedRequest,
    ExpectedStep,
    GivenEvent,
    StepError,
    Stub,
)
from foundation.errors import IpaasError
from foundation.settings import Settings
from ipaas.checking import CATALOG
from ipaas.cli import app
from ipaas.gateway import api, credentials_api, waits_api

DOCS: Final = Path(__file__).parent
_GENERATED: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings() -> str:
    """Every field of `foundation.settings.Settings`."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "" if default in (None, [], {}, PydanticUndefined) else f"`{default}`"
        variable = "IPAAS_CONNECTORS__NAME__BASE_URL" if name == "connectors" else f"IPAAS_{name.upper()}"
        rows.append((f"`{variable}`", shown, field.description or ""))
    return table(("variable", "default", "meaning"), rows)


def credentials() -> str:
    """Every credential type and its fields."""
    rows = [
        (f"`{slug}`", f"`{name}`", field.description or "")
        for slug, kind in _credential_types()
        for name, field in kind.model_fields.items()
    ]
    return table(("type", "field", "meaning"), rows)


def _credential_types() -> list[tuple[str, type[Credential]]]:
    """Those that ship, by slug."""
    load_connectors()
    ours = tuple(f"connectors.{name}" for name in BUILT_IN)
    return [
        (slug, kind)
        for slug, kind in sorted(BLOCK_TYPES.items())
        if ".".join(kind.__module__.split(".")[:2]) in (*ours, "blocks.credential_types")
    ]


def actions() -> str:
    """Every action that ships, as `ipaas connectors show` has it."""
    parts = []
    for name, ours in connectors().items():
        if name in BUILT_IN:
            parts += [*(_action(action) for action in ours), *_errors_of(name)]
    return "\n\n".join(parts) + "\n"


def _errors_of(connector: str) -> list[str]:
    """What the vendor's errors mean, where someone can do something about them."""
    api = getattr(import_module(f"connectors.{connector}"), "API", None)
    table_of = api.errors.table.items() if api else ()
    rows = [(f"`{said}`", fault.advice) for said, fault in table_of if fault.advice]
    return [f"What `{connector}` may answer, and what to do:", table(("error", "do"), rows).rstrip()] if rows else []


def _action(action: Action[Any, Any]) -> str:
    documentation = inspect.getdoc(action) or ""
    explained = dict(re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", documentation, re.MULTILINE))
    rows = []
    for parameter in action.signature.parameters.values():
        needed = parameter.default is inspect.Parameter.empty
        default = "required" if needed else "" if parameter.default is None else f"`{parameter.default}`"
        rows.append((f"`{parameter.name}`", default, " ".join(explained.get(parameter.name, "").split())))
    returned = re.search(r"^Returns:\n    (.+(?:\n    .+)*)", documentation, re.MULTILINE)
    paragraphs = [
        f"### {action.action_name}",
        re.split(r"\n\n(?=Args:|Returns:|Raises:)|\n(?=Args:|Returns:)", documentation)[0],
        table(("argument", "default", "meaning"), rows).rstrip(),
    ]
    if action.credential:
        kinds = " or ".join(f"`{kind.get_block_type_slug()}`" for kind in action.credential)
        paragraphs.append(f"Credential: {kinds}{'' if action.credential_required else ' (optional)'}.")
    if returned:
        keys = ", ".join(f"`{key}`" for key in getattr(action.signature.return_annotation, "__annotations__", {}))
        paragraphs.append(f"Output{f' ({keys})' if keys else ''}: {' '.join(returned[1].split())}")
    return "\n\n".join(paragraphs)


def cases() -> str:
    """Every key of a file of test cases."""
    parts = []
    for heading, model in {
        "The file": Cases,
        "A case": Case,
        "`event`": GivenEvent,
        "`answers`": StubbedAnswer,
        "`stubs`": Stub,
        "`stubs` … `error`": StepError,
        "`expect`": Expect,
        "`expect` … `answer`": ExpectedAnswer,
        "`expect` … `requests`": ExpectedRequest,
        "`expect` … `steps`": ExpectedStep,
    }.items():
        rows = [(f"`{field.alias or name}`", field.description or "") for name, field in model.model_fields.items()]
        parts += [f"## {heading}", inspect.getdoc(model) or "", table(("key", "meaning"), rows).rstrip()]
    return "\n\n".join(parts) + "\n"


def schemes() -> str:
    """Every known sender."""
    rows = []
    for name, scheme in sorted(PRESETS.items()):
        window = f"{scheme.tolerance:g} s" if scheme.tolerance else "–"
        ids = ", ".join(f"`{source}`" for source in scheme.delivery) or "–"
        if scheme.signs_delivery_id:
            ids += ", signed" if not scheme.spends_delivery_id else ", signed, spent once"
        greets = "yes" if scheme.handshake else ""
        rows.append(
            (f"`{name}`", _signature(scheme), f"`{scheme.signed[0]}`" if scheme.is_signed else "–", window, ids, greets)
        )
    return table(("scheme", "signature", "signed", "time window", "delivery id", "handshake"), rows)


def _signature(scheme: Scheme) -> str:
    how = {
        "hmac": f"HMAC-{scheme.algorithm.upper()}",
        "token": "the secret itself",
        "ed25519": "Ed25519",
        "ecdsa": "ECDSA P-256",
    }
    written = "" if scheme.encoding == "text" else f", {scheme.encoding}"
    return f"`{scheme.signature}`: {how[scheme.style]}{written}"


def generic_schemes() -> str:
    """The schemes for any sender, with their options."""
    rows = []
    for name, record in sorted(GENERIC.items()):
        sample = {option: "X" for option, field in record.model_fields.items() if field.is_required()}
        kinds = ", ".join(f"`{kind}`" for kind in credential_types(build_scheme(name, sample)))
        rows.append((f"`{name}`", kinds, _options(record) or "–"))
    rows.append(("`custom`", "`webhook-secret`", "the fields below"))
    return table(("scheme", "credential", "options"), rows)


def _options(record: type[Any]) -> str:
    return ", ".join(
        f"`{name}` (required)"
        if field.is_required()
        else f"`{name}`" + (f" (`{field.default}`)" if field.default else "")
        for name, field in record.model_fields.items()
    )


def custom_scheme() -> str:
    """The fields of a scheme that a workflow writes itself."""
    source = inspect.getsource(Scheme)
    explained = {
        name: " ".join(text.split())
        for name, text in re.findall(r'^    (\w+): [^\n]*\n    """(.+?)"""', source, re.MULTILINE | re.DOTALL)
    }
    rows = []
    for name, field in Scheme.model_fields.items():
        default = "required" if field.is_required() else f"`{_plain(field.default)}`" if field.default else ""
        rows.append((f"`{name}`", default, explained.get(name, "")))
    return table(("field", "default", "meaning"), rows)


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


def commands() -> str:
    """Every command with its arguments and options, from the command line itself."""
    return (
        "\n\n".join(_command(path, command) for path, command in walk(typer.main.get_command(app), ("ipaas",))) + "\n"
    )


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    children: Mapping[str, Any] = getattr(command, "commands", {})
    if not children or command.invoke_without_command:
        yield path, command
    for name, child in children.items():
        yield from walk(child, (*path, name))


def _command(path: Sequence[str], command: Any) -> str:
    given = [parameter for parameter in command.params if parameter.name != "help"]
    arguments = [_argument(parameter) for parameter in given if parameter.param_type_name == "argument"]
    rows = [
        (f"`{_spelled(parameter)}`", _default(parameter), " ".join((getattr(parameter, "help", "") or "").split()))
        for parameter in given
    ]
    paragraphs = [f"### {' '.join([*path, *arguments])}", " ".join((command.help or "").split())]
    if rows:
        paragraphs.append(table(("argument or option", "default", "meaning"), rows).rstrip())
    return "\n\n".join(part for part in paragraphs if part)


def _argument(parameter: Any) -> str:
    name = _spelled(parameter) + ("…" if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _spelled(parameter: Any) -> str:
    return ", ".join(parameter.opts) if parameter.param_type_name == "option" else parameter.name.upper()


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    return "" if default in (None, False, "") or callable(default) else f"`{default}`"


def routes() -> str:
    """The management API's routes, from its OpenAPI document."""
    service = FastAPI()
    for part in (api, waits_api, credentials_api):
        service.include_router(part.router)
    rows = []
    for path, methods in service.openapi()["paths"].items():
        for method, operation in methods.items():
            query = ", ".join(f"`{p['name']}`" for p in operation.get("parameters", ()) if p["in"] == "query")
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            said = operation.get("description") or operation["summary"]
            answers = ", ".join(sorted(operation["responses"]))
            rows.append(
                (f"`{method.upper()} {path}`", query or _fields(service, schema), answers, " ".join(said.split()))
            )
    return table(("request", "query or body", "answers", "does"), rows)


def _fields(service: FastAPI, schema: Mapping[str, Any]) -> str:
    names = re.findall(r"#/components/schemas/(\w+)", str(schema))
    fields: Iterable[str] = service.openapi()["components"]["schemas"][names[0]]["properties"] if names else ()
    return ", ".join(f"`{field}`" for field in fields)


def errors() -> str:
    """Every error's code."""
    rows = []
    for kind in _subclasses(IpaasError):
        if kind.__module__ == "foundation.errors":
            tree = re.search(rf"[├└│ ─]+{kind.__name__} +(.+)", inspect.getdoc(sys.modules["foundation.errors"]) or "")
            rows.append((f"`{kind.code}`", kind.__name__, tree[1].strip() if tree else ""))
    return table(("code", "error", "means"), rows)


def _subclasses(kind: type[IpaasError]) -> Iterator[type[IpaasError]]:
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "actions": actions,
    "cases": cases,
    "commands": commands,
    "credentials": credentials,
    "custom-scheme": custom_scheme,
    "errors": errors,
    "generic-schemes": generic_schemes,
    "routes": routes,
    "schemes": schemes,
    "settings": settings,
}


def written(page: str) -> str:
    """The page, with its generated parts as the code is now."""
    return _GENERATED.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", page)


def schema_text() -> str:
    """What `ipaas schema` prints where no package registers a connector."""
    known = descriptions.DESCRIPTIONS
    schema = language_schema({name: known[name] for name in known if name.partition(".")[0] in BUILT_IN})
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


FILES: Final[Mapping[Path, Callable[[], str]]] = {
    descriptions.FILE: descriptions.file_text,
    CATALOG / "workflow.schema.json": schema_text,
}
"""What is generated whole."""


def main() -> None:
    for path, make in FILES.items():
        _write(path, make())
    for path in sorted(DOCS.rglob("*.md")):
        _write(path, written(path.read_text(encoding="utf-8")))


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path} written\n")


if __name__ == "__main__":
    main()
