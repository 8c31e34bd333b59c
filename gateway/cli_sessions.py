"""The `gateway sessions` commands, and what ends sessions for other commands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

import click

from gateway.audit import audit_of_command
from gateway.claims import uid_text
from gateway.describe import utc
from gateway.errors import ConfigError
from gateway.events import ALL, SESSION, Named, Revoked
from gateway.revocations import MOST_READ, Revocations, session_named
from gateway.settings import Settings
from gateway.stores import JTI, SID, UID, Revocation, Store, urls
from gateway.stores.bounded import open_store

_TIMEOUT_SEC: Final = 5  # a person waits longer than a request


@click.group()
def sessions() -> None:
    """End sessions, of one user or one by one, and list what was ended.

    All workers of all machines that share GATEWAY_STATE_URL know it within GATEWAY_STATE_SYNC_SEC.
    """


@sessions.command("revoke")
@click.option("--uid", help="End every session of this uid that has begun so far.")
@click.option("--sid", help="End one session, by the claim sid of its tokens.")
@click.option("--jti", help="End one session of tokens without sid, by their claim jti.")
@click.option("--issuer", help="Whose tokens they are, by iss, if not our own.")
def revoke(uid: str | None, sid: str | None, jti: str | None, issuer: str | None) -> None:
    """End every session of a uid, or one session.

    For example: gateway sessions revoke --uid 12
    """
    named = {kind: value for kind, value in ((UID, uid), (SID, sid), (JTI, jti)) if value is not None}
    if len(named) != 1:
        raise ConfigError("nothing is revoked: give one of --uid, --sid and --jti")
    ((kind, value),) = named.items()
    settings = Settings.from_env()
    _check(settings, issuer, kind, value)
    _end(settings, issuer, kind, value)


@sessions.command("list-revoked")
def list_revoked() -> None:
    """List what was ended and may still be alive somewhere, the oldest first."""
    for each in _live(_store(Settings.from_env()), time.time()):
        source = f"  of {each.issuer}" if each.issuer else ""
        value = each.value if each.value.isprintable() else repr(each.value)
        times = f"revoked {utc(each.moment)}  kept until {utc(each.expires)}"
        click.echo(f"{each.kind}  {value}  {times}{source}")


def end_sessions(settings: Settings, uid: str) -> None:
    """End every session of a uid of ours that has begun so far, and say so; or say that they live on.

    Raises:
        StateUnavailableError: the store could not be made to keep that.
    """
    if settings.state_url is None or urls.is_memory(settings.state_url):
        until = utc(time.time() + settings.max_session_min * 60)
        what = "without a GATEWAY_STATE_URL that others share"
        click.echo(f"{what}, sessions of {uid} live on, until {until} at the latest")
        return
    _end(settings, None, UID, uid)


def _end(settings: Settings, issuer: str | None, kind: str, value: str) -> None:
    """End what is called so, say it, and have it in the audit log."""
    _revocations(settings).end_named(issuer, kind, value)
    click.echo(_said(kind, value, settings))
    audit = audit_of_command(settings.log_format)
    if audit is not None:
        of_all = Named(value, issuer)
        of_one = Named(None, issuer, session_named(kind, value))
        audit.revoked(None, Revoked(ALL, of_all) if kind == UID else Revoked(SESSION, of_one))


def _said(kind: str, value: str, settings: Settings) -> str:
    value = value if value.isprintable() else repr(value)
    what = f"every session of {value} that had begun" if kind == UID else f"the session {value}"
    return f"{what} is ended; all workers know it within {settings.state_sync_sec:g} s"


def _check(settings: Settings, issuer: str | None, kind: str, value: str) -> None:
    prefixes = {rules.issuer: rules.uid_prefix for rules in settings.issuers}
    if issuer is not None and issuer not in prefixes:
        must = f"it must be one of {', '.join(prefixes)}" if prefixes else "the policy file names none"
        raise ConfigError(f"--issuer is {issuer!r}; {must}")
    if kind == UID:
        _check_uid(value, issuer, prefixes)
    elif not value:
        raise ConfigError(f"--{kind} is {value!r}; it must be text")


def _check_uid(uid: str, issuer: str | None, prefixes: Mapping[str, str]) -> None:
    if uid_text(uid) is None:
        must = "1 to 255 visible ASCII characters without a comma"
        raise ConfigError(f"--uid is {uid!r}; it must be {must}")
    if issuer is not None and not uid.startswith(prefixes[issuer]):
        raise ConfigError(f"--uid is {uid!r}; it must begin with {prefixes[issuer]!r}, as all of that issuer")
    for other, prefix in prefixes.items():
        if issuer is None and prefix and uid.startswith(prefix):
            raise ConfigError(f"--uid is {uid!r}, which is of another issuer; add --issuer {other}")


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
