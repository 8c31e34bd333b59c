"""Who the client is: the peer, or whom trusted proxies name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from wsgiref.types import WSGIEnvironment

UNIX = "unix"  # a peer on a unix socket, which has no address

LONGEST_CHAIN = 100  # entries: a client can write as long a header as its server takes

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

# ipaddress also reads zones and netmasks. A mask may be meant the other way round: 10.0.0.0/0.0.0.0 is all.
_NETWORK = re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?")
# What proxies write: an IPv6 address, bare or in brackets with or without a port, or an IPv4 address with
# or without a port. Whether it is an address is for ipaddress to say.
_ENTRY = re.compile(
    r"([0-9A-Fa-f]*:[0-9A-Fa-f:.]*)|\[([0-9A-Fa-f]*:[0-9A-Fa-f:.]*)\](?::[0-9]{1,5})?"
    r"|([0-9.]+)(?::[0-9]{1,5})?"
)


def parse_networks(items: Iterable[str]) -> tuple[str, ...]:
    """Return the canonical texts of networks, each of them once.

    Args:
        items: `unix`, addresses (`10.0.0.1`) and networks (`10.0.0.0/8`). An IPv4-mapped one counts as
            the IPv4 one; any other IPv6 network, `::/0` too, holds no IPv4 address.

    Raises:
        ValueError: an item is none of these.
    """
    return tuple(dict.fromkeys(item if item == UNIX else str(_network(item)) for item in items))


class Networks:
    """Networks in which a client may be, `unix` for a unix socket among them.

    Args:
        networks: what `parse_networks` takes.

    Raises:
        ValueError: an item is no network.
    """

    __slots__ = ("_networks", "has_unix")

    def __init__(self, networks: Iterable[str]) -> None:
        texts = parse_networks(networks)
        self.has_unix = UNIX in texts
        self._networks = tuple(ip_network(text) for text in texts if text != UNIX)

    def __contains__(self, client: str) -> bool:
        """Tell whether a client is in one of them; `client` is what `TrustedProxies.client` returns."""
        return self.has_unix if client == UNIX else self.cover(_address(client))

    def cover(self, address: _Address | None) -> bool:
        """Tell whether an address is in one of them; None, for what is no address, is in none."""
        return address is not None and any(address in network for network in self._networks)


class TrustedProxies:
    """The proxies whose X-Forwarded-For is believed.

    Unlike a count of hops, this believes a header only from a peer that is one of them.

    Args:
        networks: what `parse_networks` takes. None of them: the client is always the peer.

    Raises:
        ValueError: an item is no network.
    """

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = Networks(networks)

    def trusts(self, environ: WSGIEnvironment) -> bool:
        """Tell whether the peer itself is a trusted proxy."""
        peer = _peer(environ)
        return self._networks.cover(_address(peer)) if peer else self._networks.has_unix

    def client(self, environ: WSGIEnvironment) -> str:
        """Return the canonical address of the client, or `unix` for a peer on a unix socket.

        It is the rightmost address of the chain that is no trusted proxy, or the leftmost if all are.
        Each proxy vouches for the entry to its left alone, so what is no address ends the chain. A
        peer that is no address is never trusted, and returned as the server calls it.
        """
        client = _canonical(_peer(environ))
        chain = environ.get("HTTP_X_FORWARDED_FOR") if self.trusts(environ) else None
        for entry in _from_the_right(chain or ""):
            address = _forwarded(entry)
            if address is None:
                break
            client = str(address)
            if not self._networks.cover(address):
                break
        return client


def throttled_as(address: str) -> str:
    """Return what the attempts of a client at `address` are counted under.

    That is the /64 of an IPv6 address, for a single host can have all of it, and else the address.
    """
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed), 64), strict=False))  # as a number it has no zone
    return address if parsed is None else str(parsed)


def _network(item: str) -> _Network:
    try:
        interface = ip_interface(item if _NETWORK.fullmatch(item) else "")
    except ValueError:
        raise ValueError(f"{item!r} is neither {UNIX} nor an address or network like 10.0.0.0/8") from None
    network = _unmapped(interface.network)
    if interface.ip != interface.network.network_address:
        raise ValueError(f"{item!r} has bits set beyond its prefix; perhaps {network} is meant")
    return network


def _unmapped(network: _Network) -> _Network:
    """Return the IPv4 network that an IPv4-mapped one stands for, and any other as it is."""
    first = network.network_address
    if isinstance(first, IPv6Address) and first.ipv4_mapped:  # and so the prefix is of 96 bits or more
        return IPv4Network((int(first.ipv4_mapped), network.prefixlen - 96))
    return network


def _peer(environ: WSGIEnvironment) -> str:
    """Return what the server calls the peer: nothing, if it came by a unix socket."""
    return environ.get("REMOTE_ADDR") or ""


def _canonical(peer: str) -> str:
    address = _address(peer)
    return (peer or UNIX) if address is None else str(address)


def _from_the_right(chain: str) -> Iterator[str]:
    """Yield the last entries of a chain, the last one first, at the cost of no more than these."""
    return reversed(chain.rsplit(",", LONGEST_CHAIN)[-LONGEST_CHAIN:])


def _forwarded(entry: str) -> _Address | None:
    """Return the address that an entry of the chain holds, without its port."""
    match = _ENTRY.fullmatch(entry.strip(" \t"))
    return _address(match[match.lastindex or 0]) if match else None


def _address(text: str) -> _Address | None:
    """Return the address that a text is, or None.

    One with a zone (`fe80::1%eth0`) is none: without the zone it would be another host's address on
    another link, and so could pass for a trusted proxy.
    """
    return None if "%" in text else _parse(text)


def _parse(text: str) -> _Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
