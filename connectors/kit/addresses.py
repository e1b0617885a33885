"""What kind of address a host has: public, or one that only the inside can reach.

Python's own `is_global` is the base; above it stand the names that people know, and the addresses that carry another
one inside them (IPv4-mapped, 6to4, NAT64), which are judged by what they carry.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from foundation.errors import ConfigurationError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint.html
        "169.254.170.23",  # https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
        "fd00:ec2::254",  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
        "fd00:ec2::23",
        "fd20:ce::254",  # https://cloud.google.com/compute/docs/metadata/querying-metadata
        "100.100.100.200",  # https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata
        "168.63.129.16",  # https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
        "192.0.0.192",  # https://docs.oracle.com/iaas/Content/Compute/Tasks/gettingmetadata.htm
    )
)
"""Where clouds tell a machine its own secrets."""
_SHARED: Final = ip_network("100.64.0.0/10")
_THIS_NETWORK: Final = ip_network("0.0.0.0/8")
_SET_ASIDE: Final = tuple(
    ip_network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "2001::/23", "3fff::/20")
)
"""What Python's releases tell differently: https://www.iana.org/assignments/iana-ipv6-special-registry"""
_SITE_LOCAL: Final = ip_network("fec0::/10")
_NAT64: Final = ip_network("64:ff9b::/96")
_COMPATIBLE: Final = ip_network("::/96")


def kind_of(address: Address) -> str | None:
    """The word for an address that is not public, as in `loopback`; None for a public one."""
    if address in _METADATA:
        return "metadata"
    if isinstance(address, IPv6Address) and (carried := _carried(address)) is not None:
        return kind_of(carried)
    kinds = {
        "unspecified": address.is_unspecified or address in _THIS_NETWORK,
        "loopback": address.is_loopback,
        "link-local": address.is_link_local,
        "multicast": address.is_multicast,
        "shared by a carrier": address in _SHARED,  # CGNAT, RFC 6598
        "private": (address.is_private and not address.is_reserved) or address in _SITE_LOCAL,
        "reserved": not address.is_global or address.is_reserved or any(address in one for one in _SET_ASIDE),
    }
    return next((kind for kind, is_it in kinds.items() if is_it), None)


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this one end up at."""
    if address.ipv4_mapped is not None:  # RFC 4291, 2.5.5.2
        return address.ipv4_mapped
    if address.sixtofour is not None:  # RFC 3056
        return address.sixtofour
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):  # RFC 6052; RFC 4291, 2.5.5.1
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def spelled(host: str) -> Address | None:
    """The address that a host is without asking anybody: numbers in every spelling that systems know (`127.1`,
    `0x7f000001`, `2130706433`), and `localhost` (RFC 6761); None for a name."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


@dataclass(frozen=True)
class Allowed:
    """What the operator lets data reach besides the public: `IPAAS_EGRESS_ALLOW`."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Allowed:
        """
        Args:
            entries: each a network (`10.1.0.0/16`), an address, or a host's name.

        Raises:
            ConfigurationError: one is none of these.
        """
        networks, hosts = [], set()
        for entry in entries:
            try:
                networks.append(ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                if not entry or set(entry) & set("/:@*? "):
                    raise ConfigurationError(
                        f"IPAAS_EGRESS_ALLOW: {entry!r} is no network, address or host: write 10.1.0.0/16 or a name"
                    ) from None
                hosts.add(_plain(entry))
        return cls(tuple(networks), frozenset(hosts))

    def refusal(self, host: str, address: Address) -> str | None:
        """The kind of an address that `host` has and data may not reach; None if it may."""
        kind = kind_of(address)
        if kind is None or _plain(host) in self.hosts:
            return None
        carried = _carried(address) if isinstance(address, IPv6Address) else None
        known = (address,) if carried is None else (address, carried)
        return None if any(one in network for one in known for network in self.networks) else kind


NOTHING: Final = Allowed()


def _plain(host: str) -> str:
    return host.rstrip(".").lower()
