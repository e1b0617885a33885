"""`openapi`: APIs that have an OpenAPI document.

The module is light: `call`, which brings Prefect, is loaded when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectors.openapi.actions import call as call

__all__ = ["call"]


def __getattr__(name: str) -> Any:
    if name != "call":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from connectors.openapi.actions import call

    return call
