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
        pkce: whether it takes a challenge (RFC 7636) from a client that has a secret; one without always sends it.
        margin: seconds before its end in which an access token is renewed.
        keep_alive: seconds after which unused tokens are renewed.
    """

    authorize_url: str = ""
    token_url: str = ""
    device_url: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    client_auth: ClientAuth = "basic"
    between_scopes: str = " "
    pkce: bool = True
    margin: float = MARGIN
    keep_alive: float | None = KEEP_ALIVE


# What is said of a refresh token: how long it is good, and whether using it spends it.
PROVIDERS: Final[Mapping[str, Provider]] = {
    # https://airtable.com/developers/web/api/oauth-reference; 60 days, spent by use; wants PKCE
    "airtable": Provider("https://airtable.com/oauth2/v1/authorize", "https://airtable.com/oauth2/v1/token"),
    # https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/; 90 days, spent by use; wants the scope
    # offline_access. A year after consent it is over whatever was renewed, and a person consents again.
    "atlassian": Provider(
        "https://auth.atlassian.com/authorize",
        "https://auth.atlassian.com/oauth/token",
        parameters={"audience": "api.atlassian.com", "prompt": "consent"},
        client_auth="body",
    ),
    # https://www.dropbox.com/developers/documentation/http/documentation#oauth2-token; until revoked, not spent
    "dropbox": Provider(
        "https://www.dropbox.com/oauth2/authorize",
        "https://api.dropboxapi.com/oauth2/token",
        parameters={"token_access_type": "offline"},
        keep_alive=None,
    ),
    # https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens
    # 6 months, spent by use
    "github": Provider(
        "https://github.com/login/oauth/authorize",
        "https://github.com/login/oauth/access_token",
        "https://github.com/login/device/code",
        client_auth="body",
        margin=300,
    ),
    # https://docs.gitlab.com/api/oauth2/; spent by use, does not say how long
    "gitlab": Provider(
        "https://gitlab.com/oauth/authorize",
        "https://gitlab.com/oauth/token",
        "https://gitlab.com/oauth/authorize_device",
        client_auth="body",
        margin=300,
    ),
    # https://developers.google.com/identity/protocols/oauth2/web-server, and for devices .../limited-input-device;
    # https://developers.google.com/identity/protocols/oauth2#expiration: 6 months unused; 7 days in all as long as the
    # client's consent screen is in testing
    "google": Provider(
        "https://accounts.google.com/o/oauth2/v2/auth",
        "https://oauth2.googleapis.com/token",
        "https://oauth2.googleapis.com/device/code",
        parameters={"access_type": "offline", "prompt": "consent"},
        client_auth="body",
        margin=300,
    ),
    # https://developers.hubspot.com/docs/api-reference/latest/authentication/manage-oauth-tokens; does not say how
    # long. Addresses are dated and good for 18 months at least (https://developers.hubspot.com/docs/guides);
    # /oauth/v1 ends on 2027-02-16 (https://developers.hubspot.com/changelog/v1-oauth-api-deprecation).
    "hubspot": Provider(
        "https://app.hubspot.com/oauth/authorize",
        "https://api.hubapi.com/oauth/2026-09/token",
        client_auth="body",
        margin=120,
    ),
    # https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow, and v2-oauth2-device-code;
    # https://learn.microsoft.com/entra/identity-platform/refresh-tokens: 90 days, replaced but not spent by use; wants
    # the scope offline_access. client_credentials, and apps of one tenant, want that tenant's addresses.
    "microsoft": Provider(
        "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        "https://login.microsoftonline.com/common/oauth2/v2.0/token",
        "https://login.microsoftonline.com/common/oauth2/v2.0/devicecode",
        client_auth="body",
        margin=300,
    ),
    # https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_web_server_flow_ca.htm; whether use spends
    # it is set in the app; wants the scope refresh_token. Does not say how long an access token is good: it is renewed
    # when it is refused.
    "salesforce": Provider(
        "https://login.salesforce.com/services/oauth2/authorize",
        "https://login.salesforce.com/services/oauth2/token",
        client_auth="body",
    ),
    # https://docs.slack.dev/authentication/using-token-rotation; spent by use; scopes are the bot's.
    # https://docs.slack.dev/reference/methods/oauth.v2.access wants the secret in the header.
    # https://docs.slack.dev/authentication/using-pkce: only an app that was made a public client takes a challenge, and
    # its refresh tokens are good for 30 days; another's until revoked
    "slack": Provider(
        "https://slack.com/oauth/v2/authorize",
        "https://slack.com/api/oauth.v2.access",
        between_scopes=",",
        pkce=False,
        margin=600,
    ),
}
OTHERS: Final = Provider()
"""One that the standard describes and we don't know."""
