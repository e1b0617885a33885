"""All settings, read in one place (`IPAAS_…` variables or a `.env` file) and passed down.

They live in the lowest room because every room is run by processes of others too: a stock Prefect worker that
imports a compiled flow needs the same database and the same keys as the service.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from foundation.duration import Seconds


class ConnectorSettings(BaseModel):
    """What can be set for one connector: `IPAAS_CONNECTORS__SLACK__BASE_URL=…`."""

    base_url: str | None = None


class VaultSettings(BaseModel):
    """How Vault, or OpenBao, is asked: `IPAAS_VAULT__URL=…`. With a token, or with an AppRole's two ids."""

    url: str | None = None
    token: SecretStr | None = None
    role_id: str | None = None
    secret_id: SecretStr | None = None
    namespace: str | None = None


class AwsSettings(BaseModel):
    """How AWS is asked: `IPAAS_AWS__REGION=…`. Who we are there, AWS's own environment says."""

    region: str | None = None
    endpoint: str | None = None


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="IPAAS_", env_nested_delimiter="__", env_file=".env", extra="ignore", frozen=True
    )

    home: Path = Field(default=Path("~/.ipaas"), description="Where the embedded set-up keeps its files.")
    project: Path = Field(
        default=Path("."), description="The folder of the project, whose `apis` has its pinned OpenAPI documents."
    )
    database_url: str | None = Field(
        default=None, description="sqlite:///… or postgresql://…; default: SQLite in the home."
    )
    encryption_keys: Annotated[list[SecretStr], NoDecode] = Field(
        default=[], description="Comma-separated, newest first; default: the key file in the home."
    )
    api_token: SecretStr | None = Field(
        default=None, description="The management API's bearer token; default: a file in the home."
    )
    api_read_token: SecretStr | None = Field(default=None, description="A second bearer token, which may only read.")
    against_token: SecretStr | None = Field(
        default=None, description="The token for the platform that `ipaas check --against` asks; default: api_token."
    )
    prefect_ui_url: str | None = Field(
        default=None, description="Prefect's UI as people reach it; for links to flow runs."
    )
    prefect_auth: SecretStr | None = Field(
        default=None,
        description="`user:password` that Prefect's server asks for; needed when it listens beyond this machine.",
    )
    prefect_hosts: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Comma-separated names that Prefect's server answers to beside its own: prefect.example:8443.",
    )
    public_url: str | None = Field(
        default=None, description="The gateway's URL as senders see it; for links and URL-signed webhooks."
    )
    gateway_url: str = Field(
        default="http://127.0.0.1:8080",
        description="Where the gateway answers, for links that steps send out when there is no public URL; `ipaas up` "
        "sets it.",
    )
    max_body_bytes: int = Field(default=1_048_576, gt=0, description="The largest webhook body that is taken.")
    max_inflight_bytes: int = Field(
        default=67_108_864,
        gt=0,
        description="How many bytes of bodies the gateway holds at once; more get 503. At least one body's worth.",
    )
    backlog: int = Field(
        default=10_000, gt=0, description="How many accepted executions may wait before senders get 429."
    )
    workflow_backlog: int | None = Field(
        default=None, gt=0, description="The same per workflow; default: no limit of its own."
    )
    rate_limit_per_workflow: str | None = Field(
        default=None, description="How many events a workflow may get, as in 100/second; default: any number."
    )
    rate_limit_per_sender: str | None = Field(
        default=None, description="How many requests to /hooks an address may send; default: any number."
    )
    rate_limit_storage: str = Field(
        default="memory://", description="Where rates are counted; redis://… lets several gateways share the limits."
    )
    max_connections: int = Field(
        default=4096, gt=0, description="How many connections the gateway holds; more get 503."
    )
    forwarded_allow_ips: str = Field(
        default="127.0.0.1",
        description="Comma-separated proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; * for all.",
    )
    worker_metrics_host: str = Field(default="127.0.0.1", description="The address of the worker's own /metrics.")
    worker_metrics_port: int | None = Field(
        default=None, gt=0, lt=65536, description="Its port; default: the worker has none."
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default=[], description="Comma-separated origins that may call /api from a browser."
    )
    log_format: Literal["text", "json"] | None = Field(default=None, description="text on a terminal, else json.")
    mode: Literal["standard", "express"] = Field(
        default="standard", description="How workflows run that say no `mode` of their own."
    )
    retention: Seconds = Field(
        default=30 * 86_400,
        description="How long ended executions and old versions are kept, as in 30d; executions in Prefect, too.",
    )
    retention_count: int | None = Field(
        default=None, gt=0, description="How many ended executions are kept at most; default: any number."
    )
    max_inline_bytes: int = Field(
        default=256 * 1024, gt=0, description="A larger document is kept aside, once for all that are equal to it."
    )
    max_output_bytes: int = Field(
        default=10 * 1024 * 1024, gt=0, description="The largest output of a step or execution; a larger one fails it."
    )
    dedupe_days: float = Field(default=7, gt=0, description="How long a delivery is remembered.")
    egress_allow: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Comma-separated networks or hosts that addresses from data and redirects may reach, though they "
        "are not public.",
    )
    secrets_ttl: Seconds = Field(
        default=300, description="How long a secret that is kept elsewhere is used before it is asked for again."
    )
    secrets_dirs: Annotated[list[Path], NoDecode] = Field(
        default=[Path("/run/secrets")], description="Comma-separated folders that `file:` may read secrets from."
    )
    vault: VaultSettings = Field(
        default=VaultSettings(), description="Per field: url, token, role_id, secret_id, namespace; for `vault:`."
    )
    aws: AwsSettings = Field(default=AwsSettings(), description="Per field: region, endpoint; for `aws:`.")
    connectors: dict[str, ConnectorSettings] = Field(default={}, description="Per connector: base_url.")

    @field_validator("home", "project", mode="after")
    @classmethod
    def _expand(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("prefect_auth")
    @classmethod
    def _user_and_password(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        text = value.get_secret_value()
        user, _, password = text.partition(":")
        if not user or not password or not text.isascii() or not text.isprintable():
            raise ValueError("write it as user:password, in printable ASCII")  # the value itself is not for the message
        return value

    @field_validator("encryption_keys", "cors_origins", "prefect_hosts", "egress_allow", "secrets_dirs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @cached_property
    def database(self) -> str:
        """The history's database URL, as the operator would write it."""
        return self.database_url or f"sqlite:///{self.home / 'ipaas.db'}"

    @property
    def key_file(self) -> Path:
        return self.home / "encryption-keys"

    @property
    def token_file(self) -> Path:
        return self.home / "api-token"

    @property
    def prefect_auth_file(self) -> Path:
        """Where `ipaas up` leaves `prefect_auth` for the commands that find the platform through its home."""
        return self.home / "prefect-auth"
