"""`parcels`: labels from a parcel service."""

from typing import TypedDict

from pydantic import Field, SecretStr

from blocks import Credential
from connectors.kit.action import action
from connectors.kit.api import Api
from connectors.kit.auth import bearer
from connectors.kit.refusals import Errors, Fault
from connectors.webhooks import Scheme


class ParcelsCredential(Credential):
    _block_type_slug = "parcels"
    _block_type_name = "Acme Parcels"
    _description = "A token of the parcel service: https://parcels.example/docs/tokens"

    token: SecretStr = Field(description="The token.")


# https://parcels.example/docs/webhooks
WEBHOOK = Scheme(name="parcels", signature="header:X-Parcels-Signature")

API = Api(
    "parcels",
    base_url="https://parcels.example",
    auth={ParcelsCredential: bearer("token")},
    errors=Errors({401: Fault("set the credential again with a new token")}),
    idempotency_header="Idempotency-Key",
)


class Label(TypedDict):
    id: str
    note: str


@action("parcels.create_label", credential=ParcelsCredential)
async def create_label(*, order: str, credential: str) -> Label:
    """Orders a label: https://parcels.example/docs/labels

    Args:
        order: the order's id.
        credential: the name of a credential of type parcels.

    Returns:
        The label's id, and what the service notes on it.
    """
    answer = await API.post("/orders/{order}/labels", at={"order": order}, credential=credential)
    with answer.reading() as body:
        return {"id": body["id"], "note": body["note"]}
