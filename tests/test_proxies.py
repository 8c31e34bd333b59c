"""Who the client is, whatever X-Forwarded-For says."""

from __future__ import annotations

from wsgiref.types import WSGIEnvironment

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.proxies import LONGEST_CHAIN, Networks, TrustedProxies, parse_networks, throttled_as

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8:1::/48"])
PROXY = "10.0.0.1"
CLIENT = "203.0.113.7"
FORGED = "198.51.100.66"


def asked(peer: str | None, chain: str | None = None) -> WSGIEnvironment:
    """An environ as a server makes it; None leaves a key out."""
    keys = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": chain}
    return {key: value for key, value in keys.items() if value is not None}


@pytest.mark.parametrize(
    ("item", "canonical"),
    [
        pytest.param("unix", "unix", id="unix"),
        pytest.param("10.0.0.0/8", "10.0.0.0/8", id="v4-network"),
        pytest.param("10.0.0.1", "10.0.0.1/32", id="v4-address"),
        pytest.param("0.0.0.0/0", "0.0.0.0/0", id="all-of-v4"),
        pytest.param("2001:DB8:0::/32", "2001:db8::/32", id="v6-network"),
        pytest.param("::1", "::1/128", id="v6-address"),
        pytest.param("::/0", "::/0", id="all-of-v6"),
        pytest.param("::ffff:10.0.0.0/104", "10.0.0.0/8", id="mapped-network"),
        pytest.param("::ffff:10.0.0.1", "10.0.0.1/32", id="mapped-address"),
        pytest.param("::ffff:0:0/96", "0.0.0.0/0", id="all-that-is-mapped"),
        pytest.param("::/90", "::/90", id="a-v6-network-around-the-mapped"),
    ],
)
def test_a_network_has_one_text(item: str, canonical: str) -> None:
    assert parse_networks([item]) == (canonical,)


def test_networks_keep_their_order_and_lose_their_duplicates() -> None:
    items = ["unix", "10.0.0.1", "::1", "10.0.0.1/32", "::ffff:10.0.0.1", "unix"]
    assert parse_networks(items) == ("unix", "10.0.0.1/32", "::1/128")


@given(st.lists(st.ip_addresses().map(str) | st.just("unix")))
def test_canonical_texts_stay_as_they_are(items: list[str]) -> None:
    canonical = parse_networks(items)
    assert parse_networks(canonical) == canonical


@pytest.mark.parametrize(
    "item",
    [
        pytest.param("", id="empty"),
        pytest.param("UNIX", id="unix-in-capitals"),
        pytest.param("unix:/run/x", id="unix-with-a-path"),
        pytest.param("localhost", id="name"),
        pytest.param("*", id="star"),
        pytest.param(" 10.0.0.1", id="space"),
        pytest.param("10.0.0.1\n", id="newline"),
        pytest.param("10.0.0", id="short"),
        pytest.param("010.0.0.1", id="octal-like"),
        pytest.param("10.0.0.1:80", id="port"),
        pytest.param("10.0.0.0/33", id="v4-prefix-too-long"),
        pytest.param("::/129", id="v6-prefix-too-long"),
        pytest.param("10.0.0.0/", id="no-prefix"),
        pytest.param("10.0.0.0/-1", id="negative-prefix"),
        pytest.param("10.0.0.0/8/8", id="two-prefixes"),
        pytest.param("10.0.0.0/255.0.0.0", id="netmask"),
        pytest.param("10.0.0.0/0.255.255.255", id="hostmask"),
        pytest.param("[::1]", id="brackets"),
        pytest.param("fe80::1%eth0", id="zone"),
        pytest.param("1\u0660.0.0.1", id="digit-beyond-ascii"),
    ],
)
def test_what_is_no_network_is_refused_by_name(item: str) -> None:
    with pytest.raises(ValueError, match="is neither unix nor an address or network") as refusal:
        parse_networks(["10.0.0.0/8", item])
    assert str(refusal.value).startswith(repr(item))


@pytest.mark.parametrize(
    ("item", "meant"),
    [
        pytest.param("10.0.0.1/8", "10.0.0.0/8", id="v4"),
        pytest.param("10.0.0.1/0", "0.0.0.0/0", id="all-of-v4"),
        pytest.param("2001:db8::1/64", "2001:db8::/64", id="v6"),
        pytest.param("::ffff:10.0.0.1/104", "10.0.0.0/8", id="mapped"),
    ],
)
def test_a_network_with_host_bits_is_refused_with_the_one_probably_meant(item: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"perhaps {meant} is meant") as refusal:
        parse_networks([item])
    assert str(refusal.value).startswith(repr(item))


def test_no_proxies_are_built_from_what_is_no_network() -> None:
    with pytest.raises(ValueError, match="is neither"):
        TrustedProxies(["localhost"])


@pytest.mark.parametrize(
    ("networks", "peer", "trusted"),
    [
        pytest.param([], PROXY, False, id="none"),
        pytest.param([], "", False, id="none-and-unix-peer"),
        pytest.param(["10.0.0.0/8"], PROXY, True, id="v4-inside"),
        pytest.param(["10.0.0.0/8"], "11.0.0.1", False, id="v4-outside"),
        pytest.param(["::1", "10.0.0.1"], PROXY, True, id="the-second-network"),
        pytest.param(["2001:db8::/32"], "2001:DB8:0::1", True, id="v6-inside"),
        pytest.param(["2001:db8::/32"], "2001:db9::1", False, id="v6-outside"),
        pytest.param(["10.0.0.0/8"], "::ffff:10.0.0.1", True, id="mapped-peer"),
        pytest.param(["::ffff:10.0.0.0/104"], PROXY, True, id="mapped-network"),
        pytest.param(["::/0"], PROXY, False, id="v6-networks-hold-no-v4"),
        pytest.param(["::/0"], "::ffff:10.0.0.1", False, id="v6-networks-hold-nothing-mapped"),
        pytest.param(["unix"], "", True, id="unix-peer"),
        pytest.param(["unix"], None, True, id="no-peer"),
        pytest.param(["unix"], PROXY, False, id="address-where-unix-is-trusted"),
        pytest.param(["0.0.0.0/0", "::/0"], "", False, id="unix-peer-where-addresses-are-trusted"),
        pytest.param(["unix"], "unix", False, id="peer-called-unix"),
        pytest.param(["unix", "127.0.0.1"], "localhost", False, id="name"),
        pytest.param(["unix", "127.0.0.1"], "127.0.0.1:80", False, id="peer-with-a-port"),
        pytest.param(["127.0.0.1"], "127.0.0.01", False, id="octal-like"),
        pytest.param(["fe80::/10"], "fe80::1%eth0", False, id="zone"),
    ],
)
def test_just_the_peers_in_the_networks_are_trusted(
    networks: list[str], peer: str | None, trusted: bool
) -> None:
    assert TrustedProxies(networks).trusts(asked(peer)) is trusted


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        pytest.param(CLIENT, CLIENT, id="v4"),
        pytest.param("2001:DB8:0::1", "2001:db8::1", id="v6"),
        pytest.param("::ffff:203.0.113.7", CLIENT, id="mapped"),
        pytest.param("", "unix", id="unix"),
        pytest.param(None, "unix", id="missing"),
        pytest.param("localhost", "localhost", id="name"),
        pytest.param("fe80::1%eth0", "fe80::1%eth0", id="zone"),
        pytest.param("1.2.3.4:5678", "1.2.3.4:5678", id="port"),
        pytest.param(" 1.2.3.4", " 1.2.3.4", id="space"),
    ],
)
def test_an_untrusted_peer_is_the_client(peer: str | None, client: str) -> None:
    assert PROXIES.client(asked(peer, FORGED)) == client


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        pytest.param(None, PROXY, id="no-header"),
        pytest.param("", PROXY, id="empty-header"),
        pytest.param(CLIENT, CLIENT, id="one-entry"),
        pytest.param(f"{FORGED}, {CLIENT}", CLIENT, id="the-rightmost"),
        pytest.param(f"{FORGED}, {CLIENT}, 10.0.0.3, 10.0.0.2", CLIENT, id="trusted-ones-are-skipped"),
        pytest.param(f"{CLIENT}, ::ffff:10.0.0.2", CLIENT, id="mapped-ones-are-skipped"),
        pytest.param(f"{CLIENT}, [2001:db8:1::1]:443", CLIENT, id="v6-ones-are-skipped"),
        pytest.param(f"10.0.0.9, {CLIENT}, 10.0.0.2", CLIENT, id="not-beyond-an-untrusted-one"),
        pytest.param("10.0.0.3, 10.0.0.2", "10.0.0.3", id="the-leftmost-if-all-are-trusted"),
        pytest.param(f"{CLIENT},unknown", PROXY, id="unknown-at-the-right"),
        pytest.param(f"{FORGED}, unknown, 10.0.0.2", "10.0.0.2", id="unknown-behind-a-trusted-one"),
        pytest.param(f"unknown, {CLIENT}", CLIENT, id="unknown-at-the-left"),
        pytest.param(f"{FORGED},", PROXY, id="comma-at-the-end"),
        pytest.param(f"{FORGED},,10.0.0.2", "10.0.0.2", id="empty-entry"),
    ],
)
def test_the_client_is_the_rightmost_that_is_no_trusted_proxy(chain: str | None, client: str) -> None:
    assert PROXIES.client(asked(PROXY, chain)) == client


@pytest.mark.parametrize(
    ("entry", "client"),
    [
        pytest.param("1.2.3.4", "1.2.3.4", id="v4"),
        pytest.param("1.2.3.4:5678", "1.2.3.4", id="v4-port"),
        pytest.param("2001:db8::1", "2001:db8::1", id="v6"),
        pytest.param("2001:DB8:0:0::1", "2001:db8::1", id="v6-in-another-writing"),
        pytest.param("::", "::", id="v6-shortest"),
        pytest.param("[2001:db8::1]", "2001:db8::1", id="v6-brackets"),
        pytest.param("[2001:db8::1]:443", "2001:db8::1", id="v6-port"),
        pytest.param("::ffff:1.2.3.4", "1.2.3.4", id="mapped"),
        pytest.param("::ffff:102:304", "1.2.3.4", id="mapped-in-hexadecimal"),
        pytest.param("[::ffff:1.2.3.4]:443", "1.2.3.4", id="mapped-port"),
        pytest.param(" \t1.2.3.4 \t", "1.2.3.4", id="spaces"),
    ],
)
def test_an_entry_is_read_as_proxies_write_it(entry: str, client: str) -> None:
    assert PROXIES.client(asked(PROXY, f"{FORGED},{entry}")) == client


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="space"),
        pytest.param("unknown", id="unknown"),
        pytest.param("unix", id="unix"),
        pytest.param("_hidden", id="obfuscated"),
        pytest.param("localhost", id="name"),
        pytest.param("1.2.3.04", id="octal-like"),
        pytest.param("0x1.2.3.4", id="hexadecimal"),
        pytest.param("16909060", id="number"),
        pytest.param("1.2.3", id="short"),
        pytest.param("1.2.3.256", id="too-large"),
        pytest.param("1.2.3.4/32", id="network"),
        pytest.param("1.2.3.4:", id="empty-port"),
        pytest.param("1.2.3.4:http", id="named-port"),
        pytest.param("1.2.3.4:1:2", id="two-ports"),
        pytest.param("1.2.3.4:123456", id="long-port"),
        pytest.param("1.2.3.4 5.6.7.8", id="two-addresses"),
        pytest.param("1.2.3.4\n", id="newline"),
        pytest.param("\xa01.2.3.4", id="no-break-space"),
        pytest.param("[1.2.3.4]", id="v4-brackets"),
        pytest.param("[2001:db8::1", id="open-bracket"),
        pytest.param("[[2001:db8::1]]", id="two-brackets"),
        pytest.param("2001:db8::1]:443", id="closing-bracket"),
        pytest.param("[2001:db8::1]443", id="no-colon"),
        pytest.param("[]:443", id="empty-brackets"),
        pytest.param("2001:db8::1::", id="v6-garbage"),
        pytest.param("fe80::1%eth0", id="zone"),
        pytest.param("[fe80::1%eth0]:443", id="zone-in-brackets"),
        pytest.param("::ffff:1.2.3.4%1", id="mapped-with-a-zone"),
        pytest.param('"1.2.3.4"', id="quotes"),
        pytest.param("for=1.2.3.4", id="rfc7239"),
        pytest.param("1.2.3.\u0664", id="digit-beyond-ascii"),
    ],
)
def test_nothing_is_believed_from_an_entry_that_is_no_address_on(entry: str) -> None:
    assert PROXIES.client(asked(PROXY, f"{FORGED},{entry},10.0.0.2")) == "10.0.0.2"


@pytest.mark.parametrize(
    ("networks", "client"),
    [
        pytest.param(["unix"], CLIENT, id="trusted"),
        pytest.param([], "unix", id="untrusted"),
    ],
)
def test_a_unix_peer_is_believed_if_it_is_trusted(networks: list[str], client: str) -> None:
    assert TrustedProxies(networks).client(asked("", CLIENT)) == client


def test_a_trusted_unix_peer_without_a_header_is_the_client() -> None:
    assert TrustedProxies(["unix"]).client(asked("")) == "unix"


@pytest.mark.parametrize(
    ("proxies", "client"),
    [
        pytest.param(LONGEST_CHAIN - 1, CLIENT, id="the-last-one-read"),
        pytest.param(LONGEST_CHAIN, "10.0.0.2", id="one-too-far"),
        pytest.param(LONGEST_CHAIN * 1000, "10.0.0.2", id="far-too-far"),
    ],
)
def test_a_chain_is_read_so_far_and_no_further(proxies: int, client: str) -> None:
    assert PROXIES.client(asked(PROXY, CLIENT + ",10.0.0.2" * proxies)) == client


def test_the_last_entry_read_is_read_whatever_is_beyond_it() -> None:
    chain = f"{FORGED}," * 1000 + CLIENT + ",10.0.0.2" * (LONGEST_CHAIN - 1)
    assert PROXIES.client(asked(PROXY, chain)) == CLIENT


@pytest.mark.parametrize("character", ["1", ".", ":", "f", "[", " ", "\t", "%", "\x00"])
def test_an_entry_as_long_as_a_header_is_no_address(character: str) -> None:
    assert PROXIES.client(asked(PROXY, character * 1_000_000)) == PROXY


def test_the_environ_is_left_as_it_came() -> None:
    environ = asked(PROXY, f"{FORGED}, {CLIENT}")
    before = dict(environ)
    PROXIES.client(environ)
    assert environ == before


@pytest.mark.parametrize(
    ("address", "key"),
    [
        pytest.param("203.0.113.7", "203.0.113.7", id="v4"),
        pytest.param("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", id="v6"),
        pytest.param("2001:db8::", "2001:db8::/64", id="v6-network-address"),
        pytest.param("::ffff:203.0.113.7", "203.0.113.7", id="mapped"),
        pytest.param("fe80::1%eth0", "fe80::/64", id="zone"),
        pytest.param("unix", "unix", id="unix"),
        pytest.param("localhost", "localhost", id="name"),
    ],
)
def test_a_client_is_throttled_by_what_one_host_can_have(address: str, key: str) -> None:
    assert throttled_as(address) == key


@given(st.ip_addresses(v=6, network="2001:db8:1:2::/64"))
def test_all_addresses_of_a_home_are_throttled_as_one(address: object) -> None:
    assert throttled_as(str(address)) == "2001:db8:1:2::/64"


# What comes in a header or could be read as an address, and any text.
entries = (
    st.ip_addresses().map(str)
    | st.ip_addresses(network="10.0.0.0/8").map(str)
    | st.ip_addresses(v=6).map("[{}]:443".format)
    | st.sampled_from(["", " ", "unix", "unknown", "1.2.3.4:5", "fe80::1%eth0", "::ffff:10.0.0.1"])
    | st.text(alphabet="0123456789abcdef.:[]%/, \t", max_size=40)
    | st.text(alphabet=st.characters(codec=None), max_size=40)
)
chains = st.lists(entries, max_size=8).map(",".join)
strangers = (st.ip_addresses(v=4, network="203.0.113.0/24") | st.ip_addresses(v=6, network="fd00::/8")).map(
    str
)


@given(peer=st.none() | entries, chain=st.none() | chains)
def test_every_request_has_a_client(peer: str | None, chain: str | None) -> None:
    for proxies in (PROXIES, TrustedProxies([]), TrustedProxies(["unix", "0.0.0.0/0", "::/0"])):
        client = proxies.client(asked(peer, chain))
        assert client
        assert throttled_as(client)


@given(peer=strangers, chain=chains)
@example(peer=CLIENT, chain=PROXY)
def test_an_untrusted_peer_is_the_client_whatever_it_sends(peer: str, chain: str) -> None:
    assert PROXIES.client(asked(peer, chain)) == peer


@given(peer=st.none() | entries, chain=chains)
def test_without_trusted_proxies_the_header_changes_nothing(peer: str | None, chain: str) -> None:
    nobody = TrustedProxies([])
    assert nobody.client(asked(peer, chain)) == nobody.client(asked(peer))


@given(sent=chains, stranger=strangers)
@example(sent=PROXY, stranger=CLIENT)
@example(sent=CLIENT + ",10.0.0.2" * LONGEST_CHAIN, stranger="fd00::1")
def test_what_a_client_sends_to_a_trusted_proxy_changes_nothing(sent: str, stranger: str) -> None:
    assert PROXIES.client(asked(PROXY, f"{sent}, {stranger}")) == stranger


@given(
    sent=chains, stranger=strangers, hops=st.lists(st.ip_addresses(network="10.0.0.0/8").map(str), max_size=5)
)
def test_nor_does_it_behind_more_of_them(sent: str, stranger: str, hops: list[str]) -> None:
    assert PROXIES.client(asked(PROXY, ", ".join([sent, stranger, *hops]))) == stranger


# Networks


@pytest.mark.parametrize(
    ("networks", "client", "is_in"),
    [
        (["192.0.2.0/24"], "192.0.2.1", True),
        (["192.0.2.0/24"], "192.0.3.1", False),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["0.0.0.0/0", "::/0"], "unix", False),
        (["unix"], "unix", True),
        (["unix"], "192.0.2.1", False),
        (["0.0.0.0/0", "::/0", "unix"], "what a server calls it", False),
        ([], "192.0.2.1", False),
    ],
)
def test_a_client_is_in_a_network(networks: list[str], client: str, is_in: bool) -> None:
    assert (client in Networks(networks)) is is_in
