"""Secrets that an author wrote into a workflow, where everybody reads them who reads the file, its history or Prefect.

A secret is known by the form that its vendor gives it, by the header it stands in, or by the name it has. What is
told never quotes it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from flows.expressions import is_template, strings_in
from flows.language.definition import Declaration, Path
from flows.language.place import Place
from foundation.errors import DefinitionError

ADVICE: Final = "keep it in a credential: `ipaas credentials set NAME --type TYPE`"
_FORMS: Final = {
    "a Slack token": r"xox[abeoprs]-[A-Za-z0-9-]{10,}",
    "a Slack webhook's address": r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{20,}",
    "a Discord webhook's address": r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20,}",
    "a GitHub token": r"gh[opsur]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}",
    "a GitLab token": r"gl(?:pat|dt|rt|cbt|ptt|soat|ft)-[\w-]{20,}",
    "an AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a Google API key": r"\bAIza[\w-]{35}",
    "a Google OAuth secret": r"\bGOCSPX-[\w-]{20,}|\bya29\.[\w-]{20,}",
    "a Stripe key": r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|\bwhsec_[A-Za-z0-9+/=]{24,}",
    "an OpenAI key": r"\bsk-(?:proj|svcacct|admin)-[\w-]{32,}|\bsk-[A-Za-z0-9]{40,}",
    "an Anthropic key": r"\bsk-ant-[\w-]{20,}",
    "a SendGrid key": r"\bSG\.[\w-]{16,}\.[\w-]{16,}",
    "a Mailgun key": r"\bkey-[0-9a-f]{32}\b",
    "a Shopify token": r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "a Square token": r"\bsq0(?:atp|csp)-[\w-]{20,}",
    "a Telegram bot's token": r"\b\d{8,10}:AA[\w-]{32,}",
    "a HubSpot token": r"\bpat-(?:na|eu|ap)\d-[0-9a-f]{8}-[0-9a-f-]{27}",
    "a Notion token": r"\b(?:secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{40,})",
    "an Airtable token": r"\bpat[A-Za-z0-9]{14}\.[0-9a-f]{64}",
    "an npm token": r"\bnpm_[A-Za-z0-9]{36}",
    "a PyPI token": r"\bpypi-[\w-]{50,}",
    "a Prefect key": r"\bpn[ub]_[A-Za-z0-9]{30,}",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a JSON Web Token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a password in an address": r"\b[a-z][a-z0-9+.-]*://[^\s/@:{}]+:[^\s/@{}]{3,}@",
}
_KNOWN: Final = {what: re.compile(form) for what, form in _FORMS.items()}
_HEADERS: Final = re.compile(r"(proxy-)?authorization|x-(api|auth)-?(key|token)|api-?key", re.IGNORECASE)
_NAMES: Final = re.compile(
    r"(.*[_-])?(password|passwd|passphrase|client[_-]?secret|api[_-]?key|secret[_-]?key|private[_-]?key"
    r"|access[_-]?token|auth[_-]?token|bearer[_-]?token|api[_-]?token|secret)",
    re.IGNORECASE,
)
_SHORTEST: Final = 6
"""Characters of a value that is taken for a secret because of its name."""


def kind_in(text: str) -> str | None:
    """What kind of secret a text holds, by its form: `a Slack token`."""
    return next((what for what, form in _KNOWN.items() if form.search(text)), None)


def check_in_clear(place: Place, declaration: Declaration) -> None:
    """Tells `place` every secret that stands in the workflow."""
    data = declaration.model_dump(by_alias=True, exclude_unset=True)
    for path, text in strings_in(data):
        found = kind_in(text) or _by_place(path, text)
        if found:
            place.at(*path).fault(f"this looks like {found} in the clear; {ADVICE}")


def check_code(source: str, file: str) -> Iterator[DefinitionError]:
    """Every secret that stands in Python code, by its form."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (found := kind_in(node.value)):
            message = f"this looks like {found} in the clear; {ADVICE}"
            yield DefinitionError(message, file=file, line=node.lineno, column=node.col_offset + 1)


def _by_place(path: Path, text: str) -> str | None:
    """What a literal is because of where it stands."""
    if is_template(text) and text.partition("{{")[0].strip().lower() in ("", "bearer", "basic", "token"):
        return None
    name, around = str(path[-1]), path[:-1]
    if "headers" in around and _HEADERS.fullmatch(name) and "respond" not in around:
        return f"the secret of the header {name}"
    given = path[0] == "vars" or "with" in around or "set" in around
    is_literal = len(text) >= _SHORTEST and not is_template(text) and " " not in text and "://" not in text
    if given and is_literal and _NAMES.fullmatch(name):
        return f"the secret {name}"
    return None
