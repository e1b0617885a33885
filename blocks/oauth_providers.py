"""Where well-known vendors give out OAuth 2 tokens, and what is particular to each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from blocks.token_credential import KEEP_ALIVE, MARGIN

ClientAuth = Literal["basic", "body"]


@dataclass(frozen=True)
class Provider:
    """
    Attributes:
        parameters: what its consent page wants besides what the standard has.
        client_auth: how the client proves itself: RFC 6749, 2.3.1.
        between_scopes: what stands between scopes.
        margin: seconds before its end in which an access token is renewed.
        keep_alive: seconds after which unused tokens are renewed.
    """

    authorize_url: str = ""
    token_url: str = ""
    device_url: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    client_auth: ClientAuth = "basic"
    between_scopes: str = " "
    margin: float = MARGIN
    keep_alive: float | None = KEEP_ALIVE


PROVIDERS: Final[Mapping[str, Provider]] = {
    # https://airtable.com/developers/web/api/oauth-reference; a refresh token that is unused for 60 days is gone
    "airtable": Provider("https://airtable.com/oauth2/v1/authorize", "https://airtable.com/oauth2/v1/token"),
    # https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/; 90 days; wants the scope offline_access
    "atlassian": Provider(
        "https://auth.atlassian.com/authorize",
        "https://auth.atlassian.com/oauth/token",
        parameters={"audience": "api.atlassian.com", "prompt": "consent"},
        client_auth="body",
    ),
    # https://developers.dropbox.com/oauth-guide
    "dropbox": Provider(
        "https://www.dropbox.com/oauth2/authorize",
        "https://api.dropboxapi.com/oauth2/token",
        parameters={"token_access_type": "offline"},
        keep_alive=None,
    ),
    # https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app; 6 months
    "github": Provider(
        "https://github.com/login/oauth/authorize",
        "https://github.com/login/oauth/access_token",
        "https://github.com/login/device/code",
        client_auth="body",
        margin=300,
    ),
    # https://docs.gitlab.com/api/oauth2/
    "gitlab": Provider(
        "https://gitlab.com/oauth/authorize",
        "https://gitlab.com/oauth/token",
        "https://gitlab.com/oauth/authorize_device",
        client_auth="body",
        margin=300,
    ),
    # https://developers.google.com/identity/protocols/oauth2/web-server; unused for 6 months
    "google": Provider(
        "https://accounts.google.com/o/oauth2/v2/auth",
        "https://oauth2.googleapis.com/token",
        "https://oauth2.googleapis.com/device/code",
        parameters={"access_type": "offline", "prompt": "consent"},
        client_auth="body",
        margin=300,
    ),
    # https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/oauth/working-with-oauth
    "hubspot": Provider(
        "https://app.hubspot.com/oauth/authorize",
        "https://api.hubapi.com/oauth/v1/token",
        client_auth="body",
        margin=120,
        keep_alive=None,
    ),
    # https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow; 90 days; wants offline_access
    "microsoft": Provider(
        "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        "https://login.microsoftonline.com/common/oauth2/v2.0/token",
        "https://login.microsoftonline.com/common/oauth2/v2.0/devicecode",
        client_auth="body",
        margin=300,
    ),
    # https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_web_server_flow.htm; does not say how long
    # an access token is good: it is renewed when it is refused
    "salesforce": Provider(
        "https://login.salesforce.com/services/oauth2/authorize",
        "https://login.salesforce.com/services/oauth2/token",
        client_auth="body",
    ),
    # https://docs.slack.dev/authentication/using-token-rotation; 12 hours
    "slack": Provider(
        "https://slack.com/oauth/v2/authorize",
        "https://slack.com/api/oauth.v2.access",
        client_auth="body",
        between_scopes=",",
        margin=600,
    ),
}
OTHERS: Final = Provider()
"""One that the standard describes and we don't know."""
