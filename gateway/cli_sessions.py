"""The `gateway sessions` commands, and what ends sessions for other commands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

import click

from gateway.audit import audit_of_command
from gateway.claims import uid_text
from gateway.cli_completion import issuers, uids
from gateway.cli_group import Faults, Group, examples
from gateway.cli_output import Column, as_json, moment, one_line, print_json, print_table, utc
from gateway.errors import ConfigError
from gateway.events import ALL, SESSION, Named, Revoked
from gateway.nearest import question
from gateway.revocations import MOST_READ, Revocations, session_named
from gateway.settings import Settings
from gateway.stores import JTI, SID, UID, Revocation, Store, urls
from gateway.stores.bounded import open_store

_TIMEOUT_SEC: Final = 5  # a person waits longer than a request
_COLUMNS: Final = (
    Column("WHAT"),
    Column("NAME"),
    Column("REVOKED", plain="revoked {}"),
    Column("KEPT UNTIL", plain="kept until {}"),
    Column("ISSUER", plain="of {}"),
)


@click.group(
    cls=Group,
    short_help="End sessions, and list what was ended.",
    epilog=examples(
        "gateway sessions revoke --uid 12",
        "gateway sessions list-revoked",
    ),
)
def sessions() -> None:
    """End sessions, of one user or one by one, and list what was ended.

    All workers of all machines that share GATEWAY_STATE_URL know it within GATEWAY_STATE_SYNC_SEC.
    """


@sessions.command(
    "revoke",
    epilog=examples(
        "gateway sessions revoke --uid 12",
        "gateway sessions revoke --sid Zm9vYmFy   # the claim sid of one token",
    ),
)
@click.option("--uid", shell_complete=uids, help="End every session of this uid that has begun so far.")
@click.option("--sid", help="End one session, by the claim sid of its tokens.")
@click.option("--jti", help="End one session of tokens without sid, by their claim jti.")
@click.option("--issuer", shell_complete=issuers, help="Whose tokens they are, by iss, if not our own.")
def revoke(uid: str | None, sid: str | None, jti: str | None, issuer: str | None) -> None:
    """End every session of a uid, or one session."""
    named = {kind: value for kind, value in ((UID, uid), (SID, sid), (JTI, jti)) if value is not None}
    if len(named) != 1:
        raise click.UsageError("nothing is revoked: give one of --uid, --sid and --jti")
    ((kind, value),) = named.items()
    settings = Settings.from_env()
    _check(settings, issuer, kind, value)
    click.echo(_end(settings, issuer, kind, value))


@sessions.command(
    "list-revoked",
    short_help="List what was ended, the oldest first.",
    epilog=examples("gateway sessions list-revoked", "gateway sessions list-revoked --json"),
)
@as_json
def list_revoked(json_: bool) -> None:
    """List what was ended and may still be alive somewhere, the oldest first."""
    live = list(_live(_store(Settings.from_env()), time.time()))
    if json_:
        print_json({"revocations": [_document(each) for each in live]})
        return
    rows = [(each.kind, each.value, utc(each.moment), utc(each.expires), each.issuer or "") for each in live]
    print_table(_COLUMNS, rows)


def _document(revocation: Revocation) -> dict[str, str | None]:
    return {
        "kind": revocation.kind,
        "value": revocation.value,
        "issuer": revocation.issuer or None,
        "revoked": moment(revocation.moment),
        "kept_until": moment(revocation.expires),
    }


def end_sessions(settings: Settings, uid: str) -> str:
    """End every session of a uid of ours that has begun so far; return what is to be said of them.

    Raises:
        StateUnavailableError: the store could not be made to keep that.
    """
    if settings.state_url is None or urls.is_memory(settings.state_url):
        until = utc(time.time() + settings.max_session_min * 60)
        what = "without a GATEWAY_STATE_URL that others share"
        return f"{what}, sessions of {uid} live on, until {until} at the latest"
    return _end(settings, None, UID, uid)


def _end(settings: Settings, issuer: str | None, kind: str, value: str) -> str:
    """End what is called so, have it in the audit log, and return what is to be said."""
    _revocations(settings).end_named(issuer, kind, value)
    audit = audit_of_command(settings.log_format)
    if audit is not None:
        of_all = Named(value, issuer)
        of_one = Named(None, issuer, session_named(kind, value))
        audit.revoked(None, Revoked(ALL, of_all) if kind == UID else Revoked(SESSION, of_one))
    return _said(kind, value, settings)


def _said(kind: str, value: str, settings: Settings) -> str:
    name = one_line(value)
    what = f"every session of {name} that had begun" if kind == UID else f"the session {name}"
    return f"{what} is ended; all workers know it within {settings.state_sync_sec:g} s"


def _check(settings: Settings, issuer: str | None, kind: str, value: str) -> None:
    prefixes = {rules.issuer: rules.uid_prefix for rules in settings.issuers}
    if issuer is not None and issuer not in prefixes:
        must = (
            f"it must be one of {', '.join(prefixes)}"
            if prefixes
            else "the policy file names none, so leave it out"
        )
        raise Faults(f"--issuer is {issuer!r}; {must}{question(issuer, prefixes)}")
    if kind == UID:
        _check_uid(value, issuer, prefixes)
    elif not value:
        raise Faults(f"--{kind} is {value!r}; it must be text")


def _check_uid(uid: str, issuer: str | None, prefixes: Mapping[str, str]) -> None:
    if uid_text(uid) is None:
        must = "1 to 255 visible ASCII characters without a comma"
        raise Faults(f"--uid is {uid!r}; it must be {must}")
    if issuer is not None and not uid.startswith(prefixes[issuer]):
        raise Faults(f"--uid is {uid!r}; it must begin with {prefixes[issuer]!r}, as all of that issuer")
    for other, prefix in prefixes.items():
        if issuer is None and prefix and uid.startswith(prefix):
            raise Faults(f"--uid is {uid!r}, which is of another issuer; add --issuer {other}")


def _store(settings: Settings) -> Store:
    if settings.state_url is None:
        raise ConfigError(f"GATEWAY_STATE_URL is not set; it must be {urls.MUST}")
    if urls.is_memory(settings.state_url):
        raise ConfigError(
            "GATEWAY_STATE_URL is 'memory://', which no other process can reach; it must be"
            " sqlite:///path or redis://host:port/0"
        )
    return open_store(settings.state_url, max(settings.state_timeout_sec, _TIMEOUT_SEC))


def _revocations(settings: Settings) -> Revocations:
    revocations = Revocations(settings, _store(settings), time.time)
    revocations.start()  # all there is, so that a uid's moment is later than that of the last time
    return revocations


def _live(store: Store, now: float) -> Iterator[Revocation]:
    position, more = None, True
    while more:
        batch = store.read(position, MOST_READ)
        yield from (each for each in batch.revocations if each.expires > now)
        position, more = batch.position, batch.more
