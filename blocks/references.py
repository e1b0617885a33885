"""References: what a secret field holds when the secret itself is kept elsewhere, as in `env:NAME`.

A reference is `SCHEME:WHERE`. It is sealed as a secret would be; what it stands for is never stored.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Final

GROUP: Final = "ipaas.secrets"
"""The entry point group of packages that bring a scheme: its name, and what makes its store."""
SCHEMES: Final = frozenset({"aws", "env", "file", "vault"})
LITERAL: Final = "literal"
"""`literal:env:x` is the secret `env:x`."""


def is_reference(secret: str) -> bool:
    """Whether the secret itself is kept elsewhere."""
    scheme, colon, where = secret.partition(":")
    return bool(colon and where) and (scheme == LITERAL or scheme in SCHEMES or scheme in plugin_schemes())


@cache
def plugin_schemes() -> frozenset[str]:
    """The schemes of installed packages."""
    return frozenset(one.name for one in entry_points(group=GROUP))
