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
from connectors.discord import DiscordCredential
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


def test_the_types_are_known_by_the_names_of_the_contract() -> None:
    shipped = [ApiKey, BasicAuth, BearerToken, DiscordCredential, OpenWeatherCredential, SlackCredential, WebhookSecret]
    slugs = ["api-key", "basic", "bearer", "discord", "openweather", "slack", "webhook-secret"]
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
    sealed = RING.seal("xoxb-1", block_type="slack", field="token")
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
    sealed = Keyring.generate().seal("xoxb-1", block_type="slack", field="token")
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
    sealed = seal_document_data("api-key", data, RING)
    assert ApiKey.model_validate(sealed).accepted("key") == ["s3cret", "older1"]
    assert sealed | {"key": 0, "previous": 0} == data | {"key": 0, "previous": 0}
    assert "s3cret" not in str(sealed)
    assert "older1" not in str(sealed)
    assert data["key"] == "s3cret"
    assert seal_document_data("api-key", sealed, RING) == sealed


@pytest.mark.parametrize("data", [{"token": "********"}, {"token": ""}, {"token": None}, {}])
def test_placeholders_and_absent_secrets_stay_as_they_are(data: dict) -> None:
    assert seal_document_data("slack", data, RING) == data


@pytest.mark.parametrize("value", [123456, True, {"a": "s3cret"}, 1.5])
def test_a_secret_that_is_no_string_is_sealed_too(value: object) -> None:
    assert Keyring.is_sealed(seal_document_data("slack", {"token": value}, RING)["token"])


@pytest.mark.parametrize(("value", "kept"), [("older1", ["older1"]), ([], []), (["", None], [])])
def test_a_list_of_secrets_stays_a_list(value: object, kept: list[str]) -> None:
    sealed = seal_document_data("bearer", {"token": "tok-1", "previous": value}, RING)
    assert BearerToken.model_validate(sealed).accepted("token") == ["tok-1", *kept]


def test_data_of_other_block_types_is_none_of_ours() -> None:
    assert seal_document_data("json", {"token": "plain"}, RING) == {"token": "plain"}


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
