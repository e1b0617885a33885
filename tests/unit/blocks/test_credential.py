from uuid import uuid4

import pytest
from pydantic import SecretStr, ValidationError

from blocks import (
    BLOCK_TYPES,
    ApiKey,
    BasicAuth,
    BearerToken,
    Credential,
    Keyring,
    MemoryCredentials,
    WebhookSecret,
    credential_type,
    seal_document_data,
    use_keyring,
)
from blocks.document_data import key_ids, reseal_document_data
from blocks.sealed_text import Place
from connectors.discord import DiscordCredential
from connectors.imap import ImapCredential
from connectors.openweather import OpenWeatherCredential
from connectors.slack import SlackCredential
from foundation.errors import CredentialError
from foundation.masking import MASK, Masker

RING = Keyring.generate()


@pytest.fixture(autouse=True)
def _ring():
    use_keyring(RING)
    yield
    use_keyring(None)


def raw(credential: Credential, field: str) -> str:
    return getattr(credential, field).get_secret_value()


def opened(kind: type[Credential], data: dict, document: str = "shop") -> Credential:
    """The credential of a document's data."""
    values = {field: value for field, value in data.items() if field in kind.model_fields}
    return kind.from_values(values, document=document, keyring=RING)


def test_the_types_are_known_by_the_names_of_the_contract() -> None:
    shipped = [
        ApiKey,
        BasicAuth,
        BearerToken,
        DiscordCredential,
        ImapCredential,
        OpenWeatherCredential,
        SlackCredential,
    ]
    shipped.append(WebhookSecret)
    slugs = ["api-key", "basic", "bearer", "discord", "imap", "openweather", "slack", "webhook-secret"]
    assert {slug: BLOCK_TYPES[slug] for slug in slugs} == dict(zip(slugs, shipped, strict=True))
    assert [kind.get_block_type_slug() for kind in shipped] == slugs


@pytest.mark.parametrize("kind", BLOCK_TYPES.values())
def test_every_type_describes_itself(kind: type[Credential]) -> None:
    assert kind.get_description()
    assert kind.get_block_type_name()
    assert kind.secret_fields()
    assert all(field.title and field.description for field in kind.describe_fields())
    assert kind.model_json_schema()["secret_fields"] == kind.secret_fields()


def test_fields_say_what_a_prompt_needs() -> None:
    found = {
        field.name: (field.secret, field.required, field.many, field.default) for field in ApiKey.describe_fields()
    }
    assert found == {
        "key": (True, True, False, None),
        "header": (False, False, False, "X-API-Key"),
        "previous": (True, False, True, []),
    }


def test_an_unknown_type_is_answered_with_the_known_ones() -> None:
    with pytest.raises(CredentialError, match=r"'slak': choose one of .*slack"):
        credential_type("slak")


def test_a_secret_is_sealed_from_the_start_and_revealed_on_demand() -> None:
    credential = WebhookSecret(secret="s3cret-1", previous=["s3cret-0"])
    for shown in (repr(credential), str(credential), str(credential.model_dump()), credential.model_dump_json()):
        assert "s3cret" not in shown
    assert Keyring.is_sealed(raw(credential, "secret"))
    assert [Keyring.is_sealed(item.get_secret_value()) for item in credential.previous] == [True]
    assert credential.reveal("secret") == "s3cret-1"
    assert credential.accepted("secret") == ["s3cret-1", "s3cret-0"]
    assert credential.accepted("secret") != [raw(credential, "secret")]


def test_a_type_without_previous_accepts_its_one_secret() -> None:
    assert SlackCredential(token="xoxb-1").accepted("token") == ["xoxb-1"]


def test_assignment_seals_too() -> None:
    credential = BearerToken(token="one1")
    credential.token = SecretStr("two2")
    assert Keyring.is_sealed(raw(credential, "token"))
    assert credential.reveal("token") == "two2"


def test_a_sealed_value_passes_unchanged() -> None:
    sealed = RING.seal("xoxb-1", Place("slack", "token"))
    assert raw(SlackCredential(token=sealed), "token") == sealed


@pytest.mark.parametrize("value", ["********", "**********", "ipaas:v1:rubbish", ""])
def test_what_can_not_be_a_secret_is_refused(value: str) -> None:
    with pytest.raises(CredentialError, match="a credential of type slack is not valid: token: "):
        SlackCredential.from_values({"token": value})


def test_errors_name_the_field_and_not_the_value() -> None:
    with pytest.raises(ValidationError) as direct:
        BasicAuth(username={"s3cret": 1}, password=["s3cret"])
    with pytest.raises(CredentialError, match="password: ") as translated:
        BasicAuth.from_values({"username": "u", "password": {}, "previous": "s3cret"})
    assert "s3cret" not in str(direct.value) + str(translated.value)
    assert translated.value.__suppress_context__


def test_an_unknown_field_is_refused_before_anything_is_kept() -> None:
    with pytest.raises(CredentialError, match=r"has no field tokn: it has token"):
        SlackCredential.from_values({"tokn": "xoxb-1"})


def test_revealing_registers_with_the_masker() -> None:
    masker = Masker()
    credential = BasicAuth.from_values({"username": "ann", "password": "s3cret", "previous": ["older"]}, masker=masker)
    assert masker.mask("s3cret older") == "s3cret older"
    credential.open_all()
    assert masker.mask("s3cret older") == f"{MASK} {MASK}"
    assert masker.mask("Basic YW5uOnMzY3JldA==") == f"Basic {MASK}"


def test_a_secret_of_another_ring_says_which_field() -> None:
    sealed = Keyring.generate().seal("xoxb-1", Place("slack", "token"))
    with pytest.raises(CredentialError, match=r"slack\.token was sealed with key"):
        SlackCredential(token=sealed).reveal("token")


@pytest.mark.parametrize("form", [SecretStr | None, dict[str, SecretStr], list[SecretStr] | None])
def test_a_form_that_prefect_would_store_wrongly_is_refused(form: object) -> None:
    known = dict(BLOCK_TYPES)
    with pytest.raises(TypeError, match=r"Broken\.key: declare it as SecretStr or list\[SecretStr\]"):
        type("Broken", (Credential,), {"__annotations__": {"key": form}, "__module__": __name__})
    assert known == BLOCK_TYPES


def test_raw_document_data_is_sealed_where_it_is_secret() -> None:
    data = {"key": "s3cret", "header": "X-Key", "previous": ["older1", "********"], "block_type_slug": "api-key"}
    sealed = seal_document_data("api-key", data, RING, document="shop")
    assert opened(ApiKey, sealed).accepted("key") == ["s3cret", "older1"]
    assert sealed | {"key": 0, "previous": 0} == data | {"key": 0, "previous": 0}
    assert "s3cret" not in str(sealed)
    assert "older1" not in str(sealed)
    assert data["key"] == "s3cret"
    assert seal_document_data("api-key", sealed, RING, document="shop") == sealed


@pytest.mark.parametrize("data", [{"token": "********"}, {"token": ""}, {"token": None}, {}])
def test_placeholders_and_absent_secrets_stay_as_they_are(data: dict) -> None:
    assert seal_document_data("slack", data, RING, document="shop") == data


@pytest.mark.parametrize("value", [123456, True, {"a": "s3cret"}, 1.5])
def test_a_secret_that_is_no_string_is_sealed_too(value: object) -> None:
    assert Keyring.is_sealed(seal_document_data("slack", {"token": value}, RING, document="shop")["token"])


@pytest.mark.parametrize(("value", "kept"), [("older1", ["older1"]), ([], []), (["", None], [])])
def test_a_list_of_secrets_stays_a_list(value: object, kept: list[str]) -> None:
    sealed = seal_document_data("bearer", {"token": "tok-1", "previous": value}, RING, document="shop")
    assert opened(BearerToken, sealed).accepted("token") == ["tok-1", *kept]


def test_data_of_other_block_types_is_none_of_ours() -> None:
    assert seal_document_data("json", {"token": "plain"}, RING, document="shop") == {"token": "plain"}


async def test_memory_credentials_behave_as_stored_ones() -> None:
    use_keyring(None)  # a run without a server needs no key of this machine
    masker = Masker()
    source = MemoryCredentials({"team-slack": {"token": "xoxb-1"}}, masker=masker)
    assert (await source.get("team-slack", SlackCredential)).reveal("token") == "xoxb-1"
    assert masker.mask("xoxb-1") == MASK
    with pytest.raises(CredentialError, match="'other' of type slack does not exist"):
        await source.get("other", SlackCredential)
    with pytest.raises(CredentialError, match="has no field token"):
        await source.get("team-slack", WebhookSecret)


async def test_memory_credentials_take_made_ones() -> None:
    source = MemoryCredentials({"b": BearerToken(token="tok-1")})
    assert (await source.get("b", BearerToken)).reveal("token") == "tok-1"
    with pytest.raises(CredentialError, match="'b' is of type bearer, not slack"):
        await source.get("b", SlackCredential)


SHOP = {"key": "s3cret-1", "header": "X-Shop", "previous": ["s3cret-0"]}


def test_the_seals_of_a_document_open_in_no_other() -> None:
    data = seal_document_data("api-key", SHOP, RING, document="shop")
    for moved in (
        opened(ApiKey, data, "other"),
        opened(ApiKey, data | {"key": data["previous"][0]}),
        opened(ApiKey, data | {"header": "X-Elsewhere"}),
        opened(ApiKey, {"key": data["key"]}),
        ApiKey(**data),
    ):
        with pytest.raises(CredentialError, match=r"api-key\.key can't be opened: .*, or header was changed"):
            moved.reveal("key")


def test_a_seal_without_a_name_opens_in_no_document() -> None:
    made = ApiKey(key="s3cret-1")
    assert made.reveal("key") == "s3cret-1"
    with pytest.raises(CredentialError, match="belongs to another credential"):
        opened(ApiKey, {"key": raw(made, "key")}).reveal("key")


def test_the_default_of_a_bound_field_may_be_left_out() -> None:
    data = seal_document_data("api-key", {"key": "s3cret-1"}, RING, document="shop")
    assert opened(ApiKey, data | {"header": "X-API-Key"}).reveal("key") == "s3cret-1"


@pytest.mark.parametrize("binds", [("nowhere",), ("port",), ("key",)])
def test_what_a_type_binds_is_a_text_of_its_own(binds: tuple[str, ...]) -> None:
    known = dict(BLOCK_TYPES)
    form = {"__annotations__": {"key": SecretStr, "port": int}, "port": 1, "_binds": binds, "__module__": __name__}
    with pytest.raises(TypeError, match=rf"Broken\._binds: {binds[0]} is no field of type str"):
        type("Broken", (Credential,), form)
    assert known == BLOCK_TYPES


def stored_by(credential: Credential, name: str) -> dict:
    ids = {"block_schema_id": uuid4(), "block_type_id": uuid4()}
    return credential._to_block_document(name, include_secrets=True, **ids).data


def test_saving_binds_what_was_made_without_a_name() -> None:
    made = ApiKey(**SHOP)
    assert opened(ApiKey, stored_by(made, "shop")).accepted("key") == ["s3cret-1", "s3cret-0"]
    with pytest.raises(CredentialError):
        opened(ApiKey, stored_by(made, "shop"), "other").reveal("key")


def test_a_saved_secret_is_not_saved_under_another_name_or_header() -> None:
    loaded = opened(ApiKey, stored_by(ApiKey(**SHOP), "shop"))
    assert opened(ApiKey, stored_by(loaded, "shop")).reveal("key") == "s3cret-1"
    with pytest.raises(CredentialError, match="belongs to another credential"):
        stored_by(loaded, "other")
    loaded.header = "X-Elsewhere"
    with pytest.raises(CredentialError, match="header was changed; set the credential again"):
        stored_by(loaded, "shop")
    loaded.key, loaded.previous = SecretStr("s3cret-2"), []
    assert opened(ApiKey, stored_by(loaded, "shop")).reveal("key") == "s3cret-2"


def test_an_anonymous_document_gets_its_name_here() -> None:
    ids = {"block_schema_id": uuid4(), "block_type_id": uuid4()}
    document = BearerToken(token="tok-1")._to_block_document(is_anonymous=True, include_secrets=True, **ids)
    assert document.name.startswith("anonymous-")
    assert opened(BearerToken, document.data, document.name).reveal("token") == "tok-1"


@pytest.mark.parametrize("previous", [[""], ["", "older1"], [RING.seal("", Place("bearer", "previous"))]])
def test_no_empty_secret_is_ever_accepted(previous: list[str]) -> None:
    for credential in (
        BearerToken(token="tok-1", previous=previous),
        BearerToken.from_values({"token": "tok-1", "previous": previous}, keyring=RING),
    ):
        assert credential.accepted("token") == ["tok-1", *(text for text in previous if text == "older1")]


def test_what_an_older_key_sealed_is_sealed_anew_for_its_document() -> None:
    old, both = Keyring([b"o" * 32]), Keyring([b"n" * 32, b"o" * 32])
    data = seal_document_data("api-key", SHOP, old, document="shop")
    resealed = reseal_document_data("api-key", data | {"previous": [*data["previous"], "typed"]}, both, document="shop")
    assert key_ids("api-key", resealed) == (both.key_ids[0],)
    credential = ApiKey.from_values(resealed, document="shop", keyring=Keyring([b"n" * 32]))
    assert credential.accepted("key") == ["s3cret-1", "s3cret-0", "typed"]
    assert reseal_document_data("api-key", resealed, both, document="shop") == resealed


def test_a_forgotten_credential_masks_only_what_another_one_shares() -> None:
    masker = Masker()
    values = {"username": "ann", "password": "s3cret-2", "previous": ["s3cret-1"]}
    replaced = BasicAuth.from_values(values | {"password": "s3cret-1", "previous": []}, masker=masker)
    present = BasicAuth.from_values(values, masker=masker)
    for credential in (replaced, present, present):
        credential.open_all()
    replaced.forget()
    assert masker.mask("s3cret-1 s3cret-2 YW5uOnMzY3JldC0x") == f"{MASK} {MASK} YW5uOn{MASK}"
    present.forget()
    assert masker.mask("s3cret-1 s3cret-2") == "s3cret-1 s3cret-2"


def test_plain_values_of_a_document_are_sealed_for_it() -> None:
    credential = opened(ApiKey, SHOP)
    assert credential.accepted("key") == ["s3cret-1", "s3cret-0"]
    assert opened(ApiKey, {"key": raw(credential, "key"), "header": "X-Shop"}).reveal("key") == "s3cret-1"
