"""An OpenAPI document from `ipaas connectors add` to the request that a workflow sends."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from openapi_documents import COMPONENTS, PETSTORE, petstore, text_of


class Api(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    asked: list[tuple[str, str, str]] = []  # noqa: RUF012 (each test's server empties it)

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.asked.append((self.command, self.path, body))
        answer = json.dumps({"id": 7, "name": "Rex"}).encode()
        self.send_response(201 if self.command == "POST" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _answer  # noqa: N815 (http.server's names)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def api() -> Iterator[str]:
    Api.asked = []
    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def _without_security(**others) -> bytes:
    paths = json.loads(json.dumps(PETSTORE))
    del paths["/pets"]["post"]["security"]
    return text_of(paths, components={"schemas": COMPONENTS["schemas"]}, **others)


@pytest.fixture
def added(ipaas, tmp_path: Path):
    (tmp_path / "pets.json").write_bytes(petstore())
    return ipaas("connectors", "add", "pets", "--spec", "pets.json", "--json")


def checked(ipaas, tmp_path: Path, *steps: str) -> list[str]:
    file = tmp_path / "w.yaml"
    file.write_text("name: w\nsteps:\n" + "".join(f"  - {step}\n" for step in steps))
    return [line.removeprefix(f"{file}:") for line in ipaas("check", str(file)).err.splitlines()]


def test_a_document_is_pinned_into_the_project(added, tmp_path: Path):
    assert added.document["operations"] == 4
    assert added.document["files"] == [f"apis/pets.{kind}" for kind in ("json", "py", "pyi", "toml")]
    assert f'sha256 = "{added.document["sha256"]}"' in (tmp_path / "apis" / "pets.toml").read_text()


def test_some_of_its_operations_with_what_they_need(ipaas, tmp_path: Path):
    (tmp_path / "pets.json").write_bytes(petstore())
    added = ipaas("connectors", "add", "pets", "--spec", "pets.json", "--include", "pets/c*", "--json")
    assert added.document["operations"] == 1
    kept = json.loads((tmp_path / "apis" / "pets.json").read_text())
    assert (list(kept["paths"]), sorted(kept["components"]["schemas"])) == (["/pets"], ["NewPet", "Pet"])


def test_what_the_project_says_is_kept_when_it_is_added_again(ipaas, added, tmp_path: Path):
    pin = tmp_path / "apis" / "pets.toml"
    pin.write_text(pin.read_text() + 'server = "https://eu.example"\npagination = {style = "link_header"}\n')
    ipaas("connectors", "add", "pets", "--spec", "pets.json")
    assert 'server = "https://eu.example"' in pin.read_text()
    assert 'pagination = {"style" = "link_header"}' in pin.read_text()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("slack", [], "there is a connector slack already"),
        ("My-API", [], "a connector's name is made of lower-case letters"),
        ("pets", ["--include", "cats/*"], "pets.json has no operation 'cats/*'; there are: pets/list"),
        ("pets", ["--spec", "nix.json"], "nix.json: there is no such file"),
    ],
)
def test_what_can_not_be_added_is_told(ipaas, tmp_path: Path, name, options, said):
    (tmp_path / "pets.json").write_bytes(petstore())
    outcome = ipaas("connectors", "add", name, "--spec", "pets.json", *options)
    assert outcome.code == 1
    assert said in outcome.err
    assert not (tmp_path / "apis").exists()


def test_its_operations_are_listed_and_searched(ipaas, added):
    assert "pets.delete_pets_id" in ipaas("connectors", "show", "pets").out
    found = ipaas("connectors", "show", "pets", "--search", "LIST", "--json").document["actions"]
    assert [(one["name"], one["method"], one["path"]) for one in found] == [("pets.pets/list", "GET", "/pets")]
    shown = ipaas("connectors", "show", "pets.pets/create").out
    assert "uses: pets.pets/create" in shown
    assert "credential: NAME  # of type bearer" in shown
    assert "pets.getPetById" in ipaas("connectors", "list").out


def test_check_knows_operation_parameters_body_types_and_answer(ipaas, added, tmp_path: Path):
    assert checked(
        ipaas,
        tmp_path,
        "{id: a, uses: pets.pets/lst}",
        "{id: b, uses: pets.pets/list, with: {limit: 101, x-request-id: a}}",
        "{id: c, uses: pets.pets/create, with: {body: {nme: Rex, kind: cow}}}",
        "{id: d, uses: pets.getPetById, with: {id: x}}",
        "{id: e, uses: log.message, with: {text: '{{ steps.d.output.body.nme }}'}}",
        "{id: f, uses: pets.getPetById, with: {id: 1, options: {paginat: true}}}",
    ) == [
        "3:13: steps[0].uses: unknown action 'pets.pets/lst'; did you mean 'pets.pets/list'?",
        "4:42: steps[1].with.limit: expected at most 100, got 101",
        "4:54: steps[1].with.x-request-id: pets.pets/list has no argument 'x-request-id'; did you mean 'X-Request-Id'?",
        "5:5: steps[2]: pets.pets/create needs a credential: NAME",
        "5:44: steps[2].with.body: missing key 'name'",
        "5:51: steps[2].with.body.nme: unknown key 'nme'; did you mean 'name'?",
        "5:61: steps[2].with.body.kind: expected 'cat' or 'dog', got 'cow'",
        "6:43: steps[3].with.id: expected a whole number, got 'x'",
        "7:39: steps[4].with.text: steps.d.output.body has no 'nme'; did you mean 'name'?",
        "8:60: steps[5].with.options.paginat: unknown key 'paginat'; did you mean 'paginate'?",
    ]


def test_check_knows_the_document_of_a_call(ipaas, added, tmp_path: Path):
    (tmp_path / "half.json").write_text('{"openapi": "3.1.0", "paths"')
    assert checked(
        ipaas,
        tmp_path,
        "{id: a, uses: openapi.call, with: {spec: pets.json, operation: pets/list, parameters: {limt: 1}}}",
        "{id: b, uses: openapi.call, with: {spec: pets, operation: GET /pets}}",
        "{id: c, uses: openapi.call, with: {spec: pets, operation: pets/lst}}",
        "{id: d, uses: openapi.call, with: {spec: nix.json, operation: a}}",
        "{id: e, uses: openapi.call, with: {spec: half.json, operation: a}}",
        "{id: f, uses: openapi.call, with: {spec: pets, operation: getPetById}}",
    ) == [
        "3:92: steps[0].with.parameters.limt: unknown key 'limt'; did you mean 'limit'?",
        "5:52: steps[2].with.operation: pets has no operation 'pets/lst'; did you mean 'pets/list'?",
        "6:40: steps[3].with.spec: nix.json: there is no such file",
        "7:40: steps[4].with.spec: half.json: line 1, column 29: not JSON: Expecting ':' delimiter",
        "8:33: steps[5].with: openapi.call needs the argument 'parameters'",
    ]


def test_a_document_that_was_changed_is_not_used(ipaas, added, tmp_path: Path):
    file = tmp_path / "apis" / "pets.json"
    file.write_text(file.read_text().replace("/pets", "/cats"))
    [fault] = checked(ipaas, tmp_path, "{id: a, uses: pets.pets/list}")
    assert fault.startswith("3:13: steps[0].uses: apis/pets.json is not the document that was pinned")


def test_a_pin_that_is_wrong_is_told(ipaas, added, tmp_path: Path):
    pin = tmp_path / "apis" / "pets.toml"
    pin.write_text(pin.read_text() + "severs = 1\n")
    [fault] = checked(ipaas, tmp_path, "{id: a, uses: pets.pets/list}")
    assert fault == "3:13: steps[0].uses: apis/pets.toml: severs: Extra inputs are not permitted"


def test_a_poll_asks_an_api(ipaas, added, tmp_path: Path):
    poll = "{poll: {uses: pets.pets/list, with: {limt: 5}, every: 5m, items: output.body, key: item.id}}"
    file = tmp_path / "w.yaml"
    file.write_text(f"name: w\ntriggers: [{poll}]\nsteps: [{{id: a, uses: log.message, with: {{text: x}}}}]\n")
    assert (
        "poll.with.limt: pets.pets/list has no argument 'limt'; did you mean 'limit'?" in ipaas("check", "w.yaml").err
    )
    (tmp_path / "apis" / "pets.json").unlink()
    assert "apis/pets.json, the document of pets: No such file" in ipaas("check", "w.yaml").err


WORKFLOW = """\
name: pets
steps:
  - id: made
    uses: pets.pets/create
    with: {body: {name: Rex}}
  - id: found
    uses: pets.getPetById
    with: {id: "{{ steps.made.output.body.id }}"}
  - id: called
    uses: openapi.call
    with: {spec: pets.json, operation: pets/list, parameters: {limit: 5, X-Request-Id: a}}
output: "{{ steps.found.output.body.name }}"
"""
PYTHON = """\
from apis import pets
from flows import workflow

@workflow()
async def mine(event):
    made = await pets.pets_create(body={"name": "Rex"})
    return (await pets.getPetById.with_id("found")(id=made["body"]["id"]))["body"]["name"]
"""


@pytest.mark.parametrize(("file", "text"), [("w.yaml", WORKFLOW), ("mine.py", PYTHON)])
def test_a_workflow_sends_what_the_document_says(ipaas, tmp_path: Path, api, monkeypatch, file, text):
    (tmp_path / "pets.json").write_bytes(_without_security(servers=[{"url": api}]))
    ipaas("connectors", "add", "pets", "--spec", "pets.json")
    (tmp_path / file).write_text(text)
    monkeypatch.delitem(sys.modules, "apis", raising=False)
    monkeypatch.delitem(sys.modules, "apis.pets", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))

    document = ipaas("run", str(tmp_path / file), "--local").document

    assert (document["status"], document["output"]) == ("succeeded", "Rex")
    expected = [("POST", "/v1/pets", '{"name":"Rex"}'), ("GET", "/v1/pets/7", ""), ("GET", "/v1/pets?limit=5", "")]
    assert Api.asked == expected[: len(Api.asked)]
    assert len(Api.asked) == (3 if file == "w.yaml" else 2)
    sys.modules.pop("apis.pets", None)
    sys.modules.pop("apis", None)


def test_a_document_from_a_url(ipaas, tmp_path: Path, api):
    address = f"{api}/openapi.json?token=secret-1234"
    outcome = ipaas("connectors", "add", "pets", "--spec", address)
    assert "it has no key `openapi`" in outcome.err  # the server answers something else
    assert "secret-1234" not in outcome.err
    assert Api.asked[0][:2] == ("GET", "/v1/openapi.json?token=secret-1234")


def test_it_becomes_python(ipaas, added, tmp_path: Path):
    (tmp_path / "w.yaml").write_text(
        "name: w\nsteps: [{id: a, uses: pets.pets/list, with: {limit: 5, X-Request-Id: b}},"
        " {id: c, uses: openapi.call, with: {spec: pets, operation: pets/list}}]\n"
    )
    code = ipaas("eject", str(tmp_path / "w.yaml")).out
    assert "from apis import pets" in code
    assert 'pets.pets_list.with_id("a")(limit=5, x_request_id="b")' in code
    assert "from connectors import openapi" in code


def test_the_schema_of_workflows_has_its_operations(ipaas, added):
    schema = ipaas("schema").document
    assert "pets.pets/create" in schema["$defs"]["Uses"]["properties"]["uses"]["enum"]
