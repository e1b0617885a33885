"""What is wrong with an OpenAPI document, or with a call of one of its operations."""

from __future__ import annotations

from foundation.errors import ActionError, ConfigurationError


class DocumentError(ConfigurationError):
    """A document that can't be used, whole or in the part that is needed; the message names the place in it.

    `argument` is the argument of `openapi.call` that names what is wrong.
    """

    argument = "spec"


class UnknownOperation(DocumentError):
    """The document has no such operation."""

    argument = "operation"


class CallError(ActionError):
    """A call that its operation does not take. Nothing was sent."""
