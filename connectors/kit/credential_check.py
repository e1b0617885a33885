"""Asks another system whether a credential works, where that is cheap and changes nothing.

A connector offers this as `async def check_credential(name: str) -> str` in the module of its actions: it opens the
credential of the connector's own type, asks, and returns one line for people.
"""

from __future__ import annotations

import sys

from connectors.kit.call import Call, Services, current_call
from connectors.kit.registry import connectors


async def check_credential(name: str, slug: str, services: Services) -> str | None:
    """What the other system says of the credential; None when its type has nothing to ask.

    Args:
        slug: the credential's type; the connector of that name is asked.

    Raises:
        ActionError: the other system refused it, or could not be asked.
        CredentialError: it can't be opened.
    """
    actions = connectors().get(slug)
    ask = getattr(sys.modules[actions[0].fn.__module__], "check_credential", None) if actions else None
    if ask is None:
        return None
    token = current_call.set(Call(services, execution_id="check", path=name))
    try:
        return str(await ask(name))
    finally:
        current_call.reset(token)
