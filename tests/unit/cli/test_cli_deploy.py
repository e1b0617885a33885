"""`ipaas deploy`: going back to an older version, and deactivating what is no longer there. Prefect is left out."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

import ipaas.connection
import ipaas.credentials as ipaas_credentials
import ipaas.publish

ORDERS = "name: orders\nsteps: [{id: a, uses: log.message, with: {text: one}}]\n"


@pytest.fixture
def prefect(monkeypatch, in_history):
    """A Prefect that takes every deployment."""

    @asynccontextmanager
    async def client():
        yield None

    async def deployed(client, store, version):
        await store.publish(version)

    monkeypatch.setattr(ipaas.connection, "prefect", client)
    monkeypatch.setattr(ipaas.publish, "deploy_version", deployed)
    in_history(lambda store: store.ping())


@pytest.fixture
def workflow(in_history):
    return lambda name: in_history(lambda store: store.workflow(name))


def test_an_older_version_is_made_the_current_one_again(ipaas, file, prefect, workflow):
    [first] = ipaas("deploy", str(file("orders.yaml", ORDERS)), "--json").document
    [second] = ipaas("deploy", str(file("orders.yaml", ORDERS.replace("one", "two"))), "--json").document
    assert workflow("orders").current.version == second["version"] != first["version"]

    outcome = ipaas("deploy", "orders", "--version", first["version"], "--json")

    assert outcome.document == [first]
    current = workflow("orders").current
    assert (current.version, current.source) == (first["version"], ORDERS)


def test_a_credential_that_does_not_exist_is_told_and_it_is_deployed_all_the_same(
    ipaas, file, prefect, workflow, monkeypatch
):
    async def none(*, connect):
        return []

    monkeypatch.setattr(ipaas_credentials, "list_credentials", none)
    step = "{id: a, uses: slack.post_message, credential: team, with: {channel: c, text: t}}"
    path = file("orders.yaml", f"name: orders\nsteps:\n  - {step}\n")

    outcome = ipaas("deploy", str(path))

    create = "`ipaas credentials set team --type slack`"
    assert (
        outcome.err == f"warning: {path}:3: credential 'team' of type slack does not exist: create it with {create}\n"
    )
    assert workflow("orders") is not None


def test_a_version_that_there_is_not(ipaas, file, prefect):
    [first] = ipaas("deploy", str(file("orders.yaml", ORDERS)), "--json").document
    outcome = ipaas("deploy", "orders", "--version", "abc")
    assert (outcome.code, outcome.err) == (1, f"ipaas: workflow orders has no version abc; it has {first['version']}\n")


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a", "--prune"]])
def test_a_version_is_of_one_workflow(ipaas, prefect, arguments):
    assert ipaas("deploy", *arguments, "--version", "v1").code == 2


@pytest.fixture
def renamed(ipaas, file, prefect, tmp_path):
    """A folder whose workflow `orders` is called `shop` now, and was not deployed since."""
    folder = tmp_path / "mine"
    folder.mkdir()
    path = folder / "orders.yaml"
    path.write_text(ORDERS)
    other = file("other.yaml", ORDERS.replace("orders", "other"))
    assert ipaas("deploy", str(folder), str(other)).code == 0
    path.write_text(ORDERS.replace("orders", "shop"))
    return folder


def test_what_is_no_longer_there_is_left_alone(ipaas, renamed, workflow):
    ipaas("deploy", str(renamed))
    assert (workflow("orders").active, workflow("shop").active) == (True, True)


def test_what_is_no_longer_there_is_deactivated_when_asked_for(ipaas, renamed, workflow):
    outcome = ipaas("deploy", str(renamed), "--prune", "--yes")

    assert outcome.out.endswith("orders is deactivated: `ipaas workflows activate orders` opens it again\n")
    assert (workflow("orders").active, workflow("shop").active, workflow("other").active) == (False, True, True)
    again = ipaas("deploy", str(renamed), "--prune", "--json")
    assert [row["workflow"] for row in again.document] == ["shop"]


def test_nothing_is_deployed_when_nobody_can_be_asked(ipaas, renamed, workflow):
    outcome = ipaas("deploy", str(renamed), "--prune")

    assert outcome.code == 1
    assert outcome.err.startswith(f"orders: {renamed / 'orders.yaml'} does not define it any more\n")
    assert "say --yes; nothing was deployed" in outcome.err
    assert workflow("orders").active
    assert workflow("shop") is None


def test_what_goes_is_in_the_document(ipaas, renamed):
    deployed, gone = ipaas("deploy", str(renamed), "--prune", "--yes", "--json").document
    assert (deployed["workflow"], "deactivated" in deployed) == ("shop", False)
    assert (gone["workflow"], gone["deactivated"]) == ("orders", True)
