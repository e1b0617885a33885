"""Who takes part: prefect-ipaas in its modes, and peers that do the same work."""

from __future__ import annotations

from benchmarks.contestants.contestant import Contestant, Work
from benchmarks.contestants.on_dbos import OnDbos
from benchmarks.contestants.on_n8n import OnN8n
from benchmarks.contestants.on_prefect import OnPrefect
from benchmarks.contestants.ours import MODES, Ours

PEERS = ("dbos", "prefect", "n8n")


def contestants(peers: str) -> list[Contestant]:
    """Ours, and these peers: `all`, `none`, or some of PEERS with commas between. Without any: ours on SQLite alone.

    Raises:
        ValueError: there is no such peer.
    """
    names = {"all": PEERS, "none": ()}.get(peers, tuple(peers.split(",")))
    if unknown := set(names) - set(PEERS):
        raise ValueError(f"there is no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    stores = (False, True) if names else (False,)
    chosen: list[Contestant] = [Ours(mode, postgres=postgres) for postgres in stores for mode in MODES]
    if "dbos" in names:
        chosen += [OnDbos(), OnDbos(postgres=True)]
    if "prefect" in names:
        chosen.append(OnPrefect())
    if "n8n" in names:
        chosen.append(OnN8n())
    return chosen


__all__ = ["PEERS", "Contestant", "Work", "contestants"]
