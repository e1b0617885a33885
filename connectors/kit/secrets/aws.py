"""`aws:SECRET_ID#KEY`: AWS Secrets Manager. With a key, the secret is a JSON object; without, it is the whole text.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from connectors.kit.secrets.store import Surroundings, ask, one_field
from foundation.errors import ConfigurationError, CredentialError

_JSON = "application/x-amz-json-1.1"


class AwsSecretsManager:
    """Signs as whoever AWS's own environment says we are: variables, profiles, a container's or a machine's role.

    Raises:
        ConfigurationError: the region is not set, or the extra `aws` is not installed.
    """

    def __init__(self, around: Surroundings) -> None:
        try:
            from botocore.session import get_session
        except ImportError:
            raise ConfigurationError("for aws: install prefect-ipaas[aws]") from None
        self._session, self._http = get_session(), around.http
        self._region = around.settings.aws.region or self._session.get_config_variable("region")
        if not self._region:
            raise ConfigurationError("for aws: set IPAAS_AWS__REGION")
        self._url = around.settings.aws.endpoint or f"https://secretsmanager.{self._region}.amazonaws.com/"

    async def read(self, where: str) -> str:
        name, _, key = where.partition("#")
        content = json.dumps({"SecretId": name}).encode()
        headers = await asyncio.to_thread(self._signed, content)
        status, body = await ask(self._http, "POST", self._url, headers=headers, content=content)
        if status != 200:
            word = str(body.get("__type", "")).rpartition("#")[2]
            said = body.get("message") or body.get("Message") or ""
            raise CredentialError(f"AWS answered {status} for {name}: {word or 'no reason'} {said}".rstrip())
        text = body.get("SecretString")
        if not isinstance(text, str):
            raise CredentialError(f"{name} in AWS is no text")
        return one_field(_object(text, name), key, f"{name} in AWS") if key else text

    def _signed(self, content: bytes) -> dict[str, str]:
        """The request's headers. In a thread: botocore may ask a role's endpoint who we are."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        headers = {"Content-Type": _JSON, "X-Amz-Target": "secretsmanager.GetSecretValue"}
        request = AWSRequest("POST", self._url, headers, content)
        try:
            credentials = self._session.get_credentials()
            if credentials is None:
                raise CredentialError("AWS's environment does not say who we are: set AWS_ACCESS_KEY_ID or a role")
            SigV4Auth(credentials.get_frozen_credentials(), "secretsmanager", self._region).add_auth(request)
        except BotoCoreError as error:
            raise CredentialError(f"AWS credentials can't be had: {type(error).__name__}", retriable=True) from None
        return {str(name): str(value) for name, value in request.headers.items()}


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise CredentialError(f"{name} in AWS is no JSON object: leave the #KEY out")
    return value
