"""Webhook schemes: is a delivery from who it says, and which delivery is it?"""

from connectors.webhooks.delivery import Delivery
from connectors.webhooks.handshake import Answer
from connectors.webhooks.options import (
    accepted_secrets,
    build_scheme,
    credential_types,
    handshake_methods,
    scheme_names,
    secret_headers,
)
from connectors.webhooks.presets import PRESETS
from connectors.webhooks.scheme import Handshake, Scheme
from connectors.webhooks.signing import sign
from connectors.webhooks.verify import Verified, verify

__all__ = [
    "PRESETS",
    "Answer",
    "Delivery",
    "Handshake",
    "Scheme",
    "Verified",
    "accepted_secrets",
    "build_scheme",
    "credential_types",
    "handshake_methods",
    "scheme_names",
    "secret_headers",
    "sign",
    "verify",
]
