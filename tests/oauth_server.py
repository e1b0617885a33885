"""A real OAuth 2 authorization server (Authlib's, in Flask) on a port of its own, with one client and an API behind it.

Its refresh tokens are spent by using them, and who sends a spent one loses them all, as strict vendors have it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant, DeviceCredentialDict
from flask import Flask, Response, jsonify, redirect, request
from werkzeug.serving import make_server

CLIENT, SECRET = "ipaas-client", "client-secret-0123456789"


@dataclass
class Token(TokenMixin):  # type: ignore[misc]
    access_token: str
    refresh_token: str | None
    scope: str
    expires_in: float
    issued_at: float = field(default_factory=time.time)
    is_spent: bool = False

    def check_client(self, client: Any) -> bool:
        return True

    def get_scope(self) -> str:
        return self.scope

    def is_good(self) -> bool:
        return time.time() < self.issued_at + self.expires_in


@dataclass
class Code(AuthorizationCodeMixin):  # type: ignore[misc]
    code: str
    redirect_uri: str
    scope: str
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope


class Client(ClientMixin):  # type: ignore[misc]
    def get_client_id(self) -> str:
        return CLIENT

    def get_default_redirect_uri(self) -> str | None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return urlsplit(redirect_uri).path == "/oauth/callback"

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in {"client_secret_basic", "client_secret_post"} or endpoint != "token"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return True


@dataclass
class OAuthServer:
    """What a test sees of it."""

    url: str = ""
    expires_in: float = 3600
    """Of the tokens given out from now on."""
    says_expires_in: bool = True
    failing: int | None = None
    """The status of every answer to a token request, until it is None again."""
    redirect_to: str | None = None
    slow: float = 0
    """Seconds that a token request takes."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often tokens were asked for, by grant."""
    tokens: list[Token] = field(default_factory=list)
    served: Counter[int] = field(default_factory=Counter)
    """Answers of the API by status."""
    _codes: dict[str, Code] = field(default_factory=dict)
    _devices: dict[str, DeviceCredentialDict] = field(default_factory=dict)
    _approved: dict[str, bool] = field(default_factory=dict)

    def credential(self, **more: Any) -> dict[str, Any]:
        """The fields of an `oauth2` credential of this server's client."""
        urls = {
            "authorize_url": f"{self.url}/authorize",
            "token_url": f"{self.url}/token",
            "device_url": f"{self.url}/device",
        }
        return urls | {"client_id": CLIENT, "client_secret": SECRET, "scopes": ["orders"]} | more

    def seed(self, *, expires_in: float = 3600) -> Token:
        """A token that somebody has already."""
        token = Token(f"access-seed-{len(self.tokens)}", f"refresh-seed-{len(self.tokens)}", "orders", expires_in)
        self.tokens.append(token)
        return token

    def consent(self, url: str) -> str:
        """A person's browser goes there and consents; the address it is sent back to."""
        return httpx.get(url).headers["location"]

    def decide(self, user_code: str, *, approved: bool = True) -> None:
        """A person types a device's code in."""
        self._approved[user_code] = approved

    def revoke(self) -> None:
        """No token is good any more."""
        for token in self.tokens:
            token.expires_in, token.is_spent = 0, True

    def expire(self) -> None:
        """No access token is good any more."""
        for token in self.tokens:
            token.expires_in = 0


@contextmanager
def oauth_server() -> Iterator[OAuthServer]:
    it = OAuthServer()
    server = make_server("127.0.0.1", 0, _app(it), threaded=True)
    it.url = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _app(it: OAuthServer) -> Flask:
    app, client, lock = Flask("oauth"), Client(), threading.Lock()
    app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True

    def save(token: dict[str, Any], _: Any) -> None:
        token["expires_in"] = it.expires_in
        it.tokens.append(
            Token(token["access_token"], token.get("refresh_token"), token.get("scope", ""), it.expires_in)
        )
        if not it.says_expires_in:
            del token["expires_in"]

    def find_client(client_id: str) -> Client | None:
        return client if client_id == CLIENT else None

    server = AuthorizationServer(app, query_client=find_client, save_token=save)

    class ByCode(grants.AuthorizationCodeGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

        def save_authorization_code(self, code: str, request: Any) -> None:
            data = request.payload.data
            it._codes[code] = Code(
                code,
                request.payload.redirect_uri,
                request.payload.scope,
                data["code_challenge"],
                data["code_challenge_method"],
            )

        def query_authorization_code(self, code: str, client: Any) -> Code | None:
            return it._codes.get(code)

        def delete_authorization_code(self, authorization_code: Code) -> None:
            del it._codes[authorization_code.code]

        def authenticate_user(self, authorization_code: Code) -> str:
            return "kim"

    class ByRefresh(grants.RefreshTokenGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")
        INCLUDE_NEW_REFRESH_TOKEN = True

        def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
            found = next((token for token in it.tokens if token.refresh_token == refresh_token), None)
            if found and found.is_spent:
                it.revoke()
            return found if found and not found.is_spent else None

        def authenticate_user(self, refresh_token: Token) -> str:
            return "kim"

        def revoke_old_credential(self, refresh_token: Token) -> None:
            refresh_token.is_spent = True

    class ByClient(grants.ClientCredentialsGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    class ByDevice(DeviceCodeGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

        def query_device_credential(self, device_code: str) -> DeviceCredentialDict | None:
            return it._devices.get(device_code)

        def query_user_grant(self, user_code: str) -> tuple[str, bool] | None:
            return ("kim", it._approved[user_code]) if user_code in it._approved else None

        def should_slow_down(self, credential: Any) -> bool:
            return False

    class Devices(DeviceAuthorizationEndpoint):  # type: ignore[misc]
        INTERVAL = 0
        CLIENT_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")

        def get_verification_uri(self) -> str:
            return f"{it.url}/activate"

        def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
            known = data | {"client_id": client_id, "scope": scope, "expires_at": time.time() + 600}
            it._devices[data["device_code"]] = DeviceCredentialDict(known)

    server.register_grant(ByCode, [CodeChallenge(required=True)])
    for grant in (ByRefresh, ByClient, ByDevice):
        server.register_grant(grant)
    server.register_endpoint(Devices)

    @app.get("/authorize")
    def authorize() -> Any:
        return server.create_authorization_response(grant_user="kim", grant=server.get_consent_grant(end_user="kim"))

    @app.post("/token")
    def token() -> Any:
        it.asked[request.form["grant_type"]] += 1
        time.sleep(it.slow)
        if it.failing is not None:
            return jsonify(error="temporarily_unavailable"), it.failing
        if it.redirect_to:
            return redirect(it.redirect_to, 307)
        with lock:
            return server.create_token_response()

    @app.post("/device")
    def device() -> Any:
        return server.create_endpoint_response(Devices.ENDPOINT_NAME)

    @app.route("/api/<path:_>", methods=["GET", "POST"])
    def api(_: str) -> Any:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        is_known = any(token.access_token == sent and token.is_good() for token in it.tokens)
        it.served[200 if is_known else 401] += 1
        return jsonify(ok=True) if is_known else Response('{"error": "invalid_token"}', 401)

    return app


def query_of(url: str) -> dict[str, str]:
    """The parameters of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
