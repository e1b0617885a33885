"""What a delivery is known by: any of it that was there before makes it the same delivery again."""

from __future__ import annotations

from connectors.webhooks import Verified
from ipaas.gateway.hooks import Hook


def dedupe_keys(hook: Hook, dedupe: str | None, verified: Verified, idempotency_key: str | None) -> list[str]:
    """A delivery's keys for the history, scoped to its hook; a token that is spent once, to its credential.

    Args:
        dedupe: what the workflow's own `dedupe` came to.
        idempotency_key: the request's header. No signature covers it, so for a scheme that signs it proves nothing.
    """
    scheme = hook.scheme
    is_signed = scheme is not None and scheme.is_signed
    known_by = (
        ("dedupe", dedupe),
        ("delivery", verified.delivery_id),
        ("idempotency-key", None if is_signed else idempotency_key),
    )
    own = next((f"{kind}\n{value}" for kind, value in known_by if value), None)
    keys = [f"{hook.workflow}\n{hook.path}\n{own}"] if own else []
    if scheme is None or not is_signed:
        return keys
    if scheme.spends_delivery_id and hook.webhook.auth:
        keys.append(f"credential\n{hook.webhook.auth.credential}\ntoken\n{verified.delivery_id}")
    is_proven = scheme.signs_delivery_id and verified.delivery_id is not None and dedupe is None
    if not is_proven and scheme.replay == "refuse":
        keys.append(f"{hook.workflow}\n{hook.path}\nsignature\n{verified.signature_hash}")
    return keys
