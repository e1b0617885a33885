"""Stubs: what a workflow that runs in a notebook gets instead of what the outside would answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import httpx

from blocks import Credential, Keyring
from connectors.kit.call import current_call
from flows.engine.failures import earlier_failure
from flows.engine.invoke import Attempts, Invocation, call_directly
from foundation.errors import ActionError, ConfigurationError
from foundation.masking import Masker

C = TypeVar("C", bound=Credential)
Stubs = Mapping[str, Mapping[str, Any]]
"""By a step's path or id what it gives, `{"output": …}` or `{"error": {"message": …}}`; by address, with the method in
front or without, what is answered there: `{"status": 200, "json": …}` or `{"body": text}`, and `headers`."""

_ADDRESS: Final = re.compile(r"(?:([A-Z]+) )?(https?://\S+)")
_ROUND: Final = re.compile(r"[^\[\]]+\[\d+\]\.")
_KEYS: Final = (frozenset({"output", "error"}), frozenset({"status", "json", "body", "headers"}))
"""Of a step's stub, and of an address's."""


class Stubbed:
    """Runs steps by their stubs, and answers requests by theirs; sends nothing.

    Args:
        stubs: see `Stubs`. `*` in an address stands for anything.

    Raises:
        ConfigurationError: one of them is something else.
    """

    def __init__(self, stubs: Stubs) -> None:
        self._steps: dict[str, Mapping[str, Any]] = {}
        self._answers: list[tuple[str | None, re.Pattern[str], Mapping[str, Any]]] = []
        for key, stub in stubs.items():
            address = _ADDRESS.fullmatch(key)
            known = _KEYS[1 if address else 0]
            if not isinstance(stub, Mapping) or not stub or set(stub) - known:
                raise ConfigurationError(f"the stub of {key!r} is a mapping with {', '.join(sorted(known))}")
            if address:
                pattern = ".*".join(map(re.escape, address[2].split("*")))
                self._answers.append((address[1], re.compile(rf"{pattern}/?(\?.*)?", re.DOTALL), stub))
            else:
                self._steps[key] = stub

    async def invoke(self, invocation: Invocation, attempts: Attempts) -> Any:
        """See `flows.engine.invoke.Invoke`."""
        stub = self._steps.get(invocation.path) or self._steps.get(_ROUND.sub("", invocation.path))
        if stub is None or invocation.action is None:
            return await call_directly(invocation, attempts)
        if error := stub.get("error"):
            raise earlier_failure({"code": "action", **error})
        return stub.get("output")

    def answer(self, request: httpx.Request) -> httpx.Response:
        """What a request is answered. Raises ActionError when no stub is for it."""
        for method, pattern, stub in self._answers:
            if method in (None, request.method) and pattern.fullmatch(str(request.url)):
                content = {"json": stub["json"]} if "json" in stub else {"text": stub.get("body", "")}
                return httpx.Response(stub.get("status", 200), headers=stub.get("headers"), **content)
        address = f"{request.method} {request.url.copy_with(query=None, userinfo=b'')}"
        raise ActionError(
            f"nothing was sent: no stub answers {address}; stub it, or the step {current_call.get().path!r}"
        )


class StandIns:
    """For every credential that is asked for, one of the right form, whose secrets are nobody's."""

    def __init__(self, masker: Masker) -> None:
        self._masker, self._keyring = masker, Keyring.generate()

    async def get(self, name: str, kind: type[C]) -> C:
        fields = [field for field in kind.describe_fields() if field.required]
        values = {one.name: (kind.model_fields[one.name].examples or [f"stand-in-{one.name}"])[0] for one in fields}
        credential = kind.from_values(values, keyring=self._keyring, masker=self._masker)
        credential.open_all()
        return credential
