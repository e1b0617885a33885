"""What kind of address a host has, and what the operator allows."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from connectors.kit.addresses import Allowed, kind_of, spelled
from foundation.errors import ConfigurationError


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.9.10", "loopback"),
        ("::1", "loopback"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("fc00::1", "private"),
        ("fd12:3456::1", "private"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("169.254.169.254", "metadata"),
        ("169.254.170.2", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("ff02::1", "multicast"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("100.64.0.1", "shared by a carrier"),
        ("100.127.255.255", "shared by a carrier"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("192.0.2.1", "private"),
        ("198.18.0.1", "private"),
        ("fec0::1", "private"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::127.0.0.1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("2002:c0a8:101::1", "private"),
        ("64:ff9b::10.0.0.1", "private"),
        ("64:ff9b::169.254.169.254", "metadata"),
    ],
)
def test_an_address_of_the_inside_has_a_kind(address, kind) -> None:
    assert kind_of(ip_address(address)) == kind


@pytest.mark.parametrize(
    "address", ["64:ff9b:1::1", "192.0.0.9", "3fff::1", "2001::1", "2001:db8::1", "100::1", "4000::1"]
)
def test_what_is_set_aside_is_not_public(address) -> None:
    assert kind_of(ip_address(address)) in {"private", "reserved"}


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.167.1.1",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "2002:808:808::1",
        "64:ff9b::8.8.8.8",
    ],
)
def test_an_address_of_the_internet_has_none(address) -> None:
    assert kind_of(ip_address(address)) is None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.01",
        "localhost",
        "LOCALHOST.",
        "app.localhost",
    ],
)
def test_an_address_is_known_in_every_spelling(host) -> None:
    assert str(spelled(host)) == "127.0.0.1"


def test_ipv6_is_known_in_brackets() -> None:
    assert spelled("[::ffff:127.0.0.1]") == ip_address("::ffff:127.0.0.1")


@pytest.mark.parametrize("host", ["example.com", "localhost.example.com", "1.2.3.4.example.com", "a", ""])
def test_a_name_is_no_address(host) -> None:
    assert spelled(host) is None


@pytest.mark.parametrize(
    ("entry", "host", "address"),
    [
        ("10.1.0.0/16", "any.example", "10.1.2.3"),
        ("10.1.2.3", "any.example", "10.1.2.3"),
        ("10.1.2.3/16", "any.example", "10.1.9.9"),
        ("fd00::/8", "any.example", "fd12::1"),
        ("[fd12::1]", "any.example", "fd12::1"),
        ("10.1.0.0/16", "any.example", "::ffff:10.1.2.3"),
        ("10.1.0.0/16", "any.example", "64:ff9b::10.1.2.3"),
        ("stock.internal", "Stock.Internal.", "192.168.0.7"),
        ("localhost", "localhost", "127.0.0.1"),
    ],
)
def test_the_operator_allows_networks_and_hosts(entry, host, address) -> None:
    assert Allowed.of([]).refusal(host, ip_address(address)) is not None
    assert Allowed.of([entry]).refusal(host, ip_address(address)) is None


@pytest.mark.parametrize(
    ("entry", "host", "address"),
    [
        ("10.1.0.0/16", "any.example", "10.2.0.1"),
        ("stock.internal", "other.stock.internal", "192.168.0.7"),
        ("stock.internal", "internal", "192.168.0.7"),
    ],
)
def test_and_nothing_beside_them(entry, host, address) -> None:
    assert Allowed.of([entry]).refusal(host, ip_address(address)) == "private"


@pytest.mark.parametrize(
    "entry", ["", "http://stock.internal", "stock.internal:80", "*.internal", "10.0.0.0/33", "a b"]
)
def test_what_is_neither_is_named(entry) -> None:
    with pytest.raises(ConfigurationError, match="IPAAS_EGRESS_ALLOW: "):
        Allowed.of([entry])
