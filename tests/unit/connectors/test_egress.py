"""Where requests may go, over real connections: 127.0.0.1 is the inside, and 127.0.0.2, allowed, stands for the public.

`where` answers for the names of these tests, as a resolver would.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blocks.source import MemoryCredentials
from connectors import http, slack
from connectors.kit.addresses import Allowed
from connectors.kit.call import Call, current_call
from connectors.kit.egress import MAY_BE_PRIVATE, EgressTransport, place_of
from connectors.kit.http_client import new_client, request
from connectors.kit.testing import Stage, acting
from foundation.clock import ManualClock
from foundation.errors import ActionError, ConnectionFailed, EgressRefused
from foundation.settings import ConnectorSettings, Settings

INSIDE, PUBLIC = "127.0.0.1", "127.0.0.2"
OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@dataclass
class Server:
    host: str
    port: int
    asked: list[str]
    """The request lines, with the Host header."""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@asynccontextmanager
async def serving(host: str, answer: str = OK, port: int = 0, tls: ssl.SSLContext | None = None):
    """A real server that answers every request alike, over connections that are kept."""
    asked: list[str] = []
    open_connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                named = next(line for line in head.split("\r\n") if line.lower().startswith("host:"))
                asked.append(f"{head.split(' HTTP')[0]} {named[5:].strip()}")
                writer.write(answer.encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    try:
        yield Server(host, server.sockets[0].getsockname()[1], asked)
    finally:
        server.close()
        for writer in open_connections:
            writer.close()
        await server.wait_closed()


def where(**answers: list[list[str]]) -> Callable:
    """A resolver: for each name what it answers the first time, the second time, and so on; then the last for ever."""

    async def resolve(host: str, port: int):
        known = answers[host.rstrip(".").partition(".")[0]]
        now = known.pop(0) if len(known) > 1 else known[0]
        return [ip_address(text) for text in now]

    return resolve


def certified(name: str, folder: Path) -> Path:
    """A file with a key and its own certificate for this name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    return file


def redirect(to: str) -> str:
    return f"HTTP/1.1 307 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def reaching(allow: str = PUBLIC, resolve: Callable | None = None, *, author_wrote: tuple[str, ...] = ()):
    """A stage whose requests use the network; what `author_wrote` names, the workflow's author wrote."""
    asked: list[str] = []

    def wrote_host(place: str) -> bool:
        asked.append(place)
        return place in author_wrote

    options = {"resolve": resolve} if resolve else {}
    transport = EgressTransport(httpx.Limits(max_connections=4), Allowed.of([allow]), **options)
    async with acting() as stage, new_client(transport) as client:
        object.__setattr__(stage.services, "http", client)
        yield Reaching(stage, wrote_host, asked)


@dataclass
class Reaching:
    stage: Stage
    wrote_host: Callable[[str], bool]
    asked: list[str]

    async def get(self, url: str) -> int:
        with self.calling():
            return (await request("GET", url)).status

    @contextmanager
    def calling(self):
        token = current_call.set(Call(self.stage.services, "execution", "step", wrote_host=self.wrote_host))
        try:
            yield
        finally:
            current_call.reset(token)


@pytest.fixture
async def inside() -> AsyncIterator[Server]:
    async with serving(INSIDE) as server:
        yield server


@pytest.fixture
async def public() -> AsyncIterator[Server]:
    async with serving(PUBLIC) as server:
        yield server


async def test_an_address_from_data_reaches_the_public(public) -> None:
    async with reaching() as reach:
        assert await reach.get(public.url) == 200
    assert reach.asked == []  # the author is asked about what is private only


async def test_an_address_from_data_does_not_reach_the_inside(inside) -> None:
    async with reaching() as reach:
        with pytest.raises(EgressRefused, match=r"not public \(loopback\)") as refused:
            await reach.get(f"{inside.url}/secret")
    assert (refused.value.code, refused.value.kind, refused.value.retriable) == ("egress", "loopback", False)
    assert "127.0.0.1" not in str(refused.value)
    assert inside.asked == []


async def test_an_address_that_the_author_wrote_may_be_anywhere(inside) -> None:
    place = f"127.0.0.1:{inside.port}"
    async with reaching(author_wrote=(place,)) as reach:
        assert await reach.get(inside.url) == 200
    assert reach.asked == [place]


@pytest.mark.parametrize(
    "spelling",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "LocalHost.",
        "anything.localhost",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "127.0.0.1.",
        "user@127.0.0.1",
    ],
)
async def test_no_spelling_of_the_inside_is_let_through(inside, spelling) -> None:
    async with reaching() as reach:
        with pytest.raises(EgressRefused):
            await reach.get(f"http://{spelling}:{inside.port}/")
    assert inside.asked == []


async def test_a_name_of_the_inside_is_refused(inside) -> None:
    async with reaching(resolve=where(intranet=[[INSIDE]])) as reach:
        with pytest.raises(EgressRefused, match="loopback"):
            await reach.get(f"http://intranet.example:{inside.port}/")
    assert inside.asked == []


async def test_of_a_names_addresses_only_the_public_ones_are_connected_to(public) -> None:
    async with serving(INSIDE, port=public.port) as inside:
        mixed = where(mixed=[["10.0.0.1", INSIDE, PUBLIC, "::1"]])
        async with reaching(resolve=mixed) as reach:
            assert await reach.get(f"http://mixed.example:{public.port}/") == 200
    assert public.asked == [f"GET / mixed.example:{public.port}"]
    assert inside.asked == []


async def test_the_address_that_was_judged_is_the_one_that_is_connected_to(public) -> None:
    """A name that answers with a public address when it is judged, and with a private one a moment later."""
    async with serving(INSIDE, port=public.port) as inside:
        async with reaching(resolve=where(rebinding=[[PUBLIC], [INSIDE]])) as reach:
            assert await reach.get(f"http://rebinding.example:{public.port}/") == 200
        async with reaching(resolve=where(rebinding=[[INSIDE]])) as later:
            with pytest.raises(EgressRefused):
                await later.get(f"http://rebinding.example:{public.port}/")
    assert len(public.asked) == 1
    assert inside.asked == []


async def test_the_next_address_is_tried_when_one_does_not_answer(public) -> None:
    async with reaching("127.0.0.0/8", where(twice=[["127.0.0.9", PUBLIC]])) as reach:
        assert await reach.get(f"http://twice.example:{public.port}/") == 200


@pytest.mark.parametrize("answer", [[], ["127.0.0.9"]])
async def test_a_host_that_cannot_be_reached_is_a_broken_connection(answer) -> None:
    async with reaching("127.0.0.0/8", where(gone=[answer])) as reach:
        with pytest.raises(ConnectionFailed, match=r"gone\.example:1 could not be reached"):
            await reach.get("http://gone.example:1/")


async def test_a_name_that_does_not_resolve_is_a_broken_connection() -> None:
    async def unknown(host: str, port: int):
        raise OSError("Name or service not known")

    async with reaching(resolve=unknown) as reach:
        with pytest.raises(ConnectionFailed, match="Name or service not known"):
            await reach.get("http://nobody.example/")


async def test_a_resolver_that_hangs_is_a_broken_connection() -> None:
    async def hanging(host: str, port: int):
        await asyncio.Event().wait()

    async with reaching(resolve=hanging) as reach:
        reach.stage.services.http.timeout = httpx.Timeout(5, connect=0.05)
        with pytest.raises(ConnectionFailed, match="within the time to connect"):
            await reach.get("http://slow.example/")


async def test_a_redirect_does_not_lead_inside(inside) -> None:
    async with serving(PUBLIC, redirect(inside.url)) as public, reaching() as reach:
        with pytest.raises(EgressRefused):
            await reach.get(public.url)
    assert len(public.asked) == 1
    assert inside.asked == []


async def test_a_redirect_leads_on_to_the_public(public) -> None:
    async with serving(PUBLIC, redirect(public.url)) as first, reaching() as reach:
        assert await reach.get(first.url) == 200


async def test_a_redirect_within_an_origin_that_the_author_wrote_stays_his() -> None:
    async with serving(INSIDE, redirect("/there")) as inside, reaching() as reach:
        his = replace(reach, wrote_host=lambda place: place == f"127.0.0.1:{inside.port}")
        with pytest.raises(ActionError, match="redirected more than 5 times"):
            await his.get(inside.url)
    assert len(inside.asked) == 6


async def test_a_redirect_to_elsewhere_inside_is_data_whoever_wrote_the_first_address(inside) -> None:
    async with serving(INSIDE, redirect(inside.url)) as first:
        written = (f"127.0.0.1:{first.port}", f"127.0.0.1:{inside.port}")
        async with reaching(author_wrote=written) as reach:
            with pytest.raises(EgressRefused):
                await reach.get(first.url)
    assert len(first.asked) == 1
    assert inside.asked == []


async def test_a_connection_that_the_author_opened_serves_no_data(inside) -> None:
    async with reaching(author_wrote=(f"127.0.0.1:{inside.port}",)) as reach:
        assert await reach.get(inside.url) == 200
        with pytest.raises(EgressRefused):
            await replace(reach, wrote_host=lambda place: False).get(inside.url)
    assert len(inside.asked) == 1


async def test_the_operators_address_of_a_connector_may_be_anywhere(inside) -> None:
    async with reaching() as reach:
        reach.stage.services = replace(
            reach.stage.services,
            connectors={"slack": ConnectorSettings(base_url=inside.url)},
            credentials=MemoryCredentials({"team": {"token": "xoxb-1"}}),
        )
        with reach.calling(), pytest.raises(ActionError, match="malformed JSON"):  # it says "hi"
            await slack.post_message(channel="C1", text="hi", credential="team")
    assert inside.asked == [f"POST /api/chat.postMessage 127.0.0.1:{inside.port}"]
    assert reach.asked == []


def test_the_operator_says_what_is_allowed(monkeypatch) -> None:
    monkeypatch.setenv("IPAAS_EGRESS_ALLOW", "10.1.0.0/16, stock.internal")
    assert Settings(_env_file=None).egress_allow == ["10.1.0.0/16", "stock.internal"]
    monkeypatch.delenv("IPAAS_EGRESS_ALLOW")
    assert Settings(_env_file=None).egress_allow == []


async def test_a_plain_client_reaches_the_public_only(inside, public) -> None:
    """What connectors send past `request` is held as well."""
    async with new_client(egress_allow=[PUBLIC]) as client:
        assert (await client.get(public.url)).status_code == 200
        with pytest.raises(EgressRefused):
            await client.get(inside.url)
        assert (await client.get(inside.url, extensions={MAY_BE_PRIVATE: True})).status_code == 200


async def test_tls_verifies_the_name_not_the_address(tmp_path, monkeypatch) -> None:
    certificate = certified("shop.example", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    names = where(shop=[[PUBLIC]], other=[[PUBLIC]])
    async with serving(PUBLIC, tls=context) as server, reaching(resolve=names) as reach:
        assert await reach.get(f"https://shop.example:{server.port}/") == 200
        with pytest.raises(ConnectionFailed, match=r"CERTIFICATE_VERIFY_FAILED.*other\.example"):
            await reach.get(f"https://other.example:{server.port}/")
    assert server.asked == [f"GET / shop.example:{server.port}"]


async def test_a_refusal_is_not_tried_again(inside) -> None:
    async with reaching() as reach:
        with pytest.raises(EgressRefused):
            await reach.get(inside.url)
    assert isinstance(reach.stage.clock, ManualClock)
    assert reach.stage.clock.slept == []


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://Shop.Example/a", "shop.example:80"),
        ("https://shop.example", "shop.example:443"),
        ("http://shop.example:8080/", "shop.example:8080"),
        ("http://[::1]/", "[::1]:80"),
        ("https://user:pass@shop.example:443/", "shop.example:443"),
    ],
)
def test_a_place_has_one_spelling(url, place) -> None:
    assert place_of(httpx.URL(url)) == place


async def test_actions_called_from_scripts_may_go_anywhere(inside) -> None:
    async with reaching():
        assert (await http.request(url=inside.url))["status"] == 200


class TestAProxyOfTheEnvironment:
    """The proxy resolves names; what is an address already is held here."""

    @pytest.fixture
    async def proxy(self, monkeypatch) -> AsyncIterator[Server]:
        async with serving(INSIDE) as server:
            for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
                monkeypatch.delenv(name.upper(), raising=False)
            monkeypatch.setenv("http_proxy", server.url)
            yield server

    async def test_names_are_its_business(self, proxy) -> None:
        async with reaching() as reach:
            assert await reach.get("http://shop.example/") == 200
        assert proxy.asked == ["GET http://shop.example/ shop.example"]

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "0x7f000001"])
    async def test_addresses_are_not(self, proxy, host) -> None:
        async with reaching() as reach:
            with pytest.raises(EgressRefused):
                await reach.get(f"http://{host}/")
        assert proxy.asked == []

    async def test_what_the_author_wrote_goes_through_it(self, proxy) -> None:
        async with reaching(author_wrote=("10.0.0.5:80",)) as reach:
            assert await reach.get("http://10.0.0.5/") == 200
        assert proxy.asked == ["GET http://10.0.0.5/ 10.0.0.5"]

    async def test_what_it_is_not_for_is_held_as_ever(self, proxy, public, monkeypatch) -> None:
        monkeypatch.setenv("no_proxy", "internal.example,open.example")
        async with reaching(resolve=where(internal=[[INSIDE]], open=[[PUBLIC]])) as reach:
            assert await reach.get(f"http://open.example:{public.port}/") == 200
            with pytest.raises(EgressRefused):
                await reach.get(f"http://internal.example:{public.port}/")
        assert proxy.asked == []
