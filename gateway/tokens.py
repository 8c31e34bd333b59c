"""Tokens: made, renewed and verified."""

from __future__ import annotations

import math
import secrets
import time
import weakref
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from gateway import jws
from gateway.cache import TokenCache
from gateway.claims import CLOCK_SKEW_SEC, SHORTEST_SEC, ForeignRules, OwnRules, uid_text
from gateway.errors import ConfigError, InvalidClaimsError, InvalidTokenError, KeysUnavailableError
from gateway.events import KeysTaken, Named
from gateway.identity import BEARER, Identity
from gateway.issuers import FetchedKeys
from gateway.keyfolder import KeyFolder
from gateway.keys import ASYMMETRIC, FixedKeys, Key, KeyRing, KeySource, OwnKeys
from gateway.policyfile import IssuerRules
from gateway.settings import Settings


class _ForeignSource(NamedTuple):
    """Another issuer."""

    rules: ForeignRules
    keys: FetchedKeys


class _OwnSource(NamedTuple):
    """Ourselves."""

    rules: OwnRules
    keys: OwnKeys


class _KeyNews:
    """Is called when a source has taken keys: forgets the tokens of those that went, and tells of it.

    Args:
        issuer: whose keys they are; None for ours.
        cache: holds the tokens.
    """

    def __init__(self, issuer: str | None, cache: TokenCache) -> None:
        self._issuer = issuer
        self._cache = cache
        self._kids: set[str] = set()
        self._source: Callable[[], KeySource | None] = _gone
        self.tell: Callable[[KeysTaken], None] | None = None

    def watch(self, source: KeySource) -> None:
        """Look at the keys of a source, which holds this and so is not held by it."""
        self._source = weakref.ref(source)

    def __call__(self) -> None:
        """Take note of the keys as they are now."""
        self._cache.drop_outdated()
        source = self._source()
        if source is None:
            return
        before, self._kids = self._kids, {key.kid or "" for key in source.ring.keys}
        if self.tell is None:
            return
        added = sorted(self._kids - before) if before else []
        self.tell(KeysTaken(self._issuer, source.ring.good_until, added, sorted(before - self._kids)))


class TokenCreator:
    """Makes tokens, renews those that near their end, and tells good ones from bad.

        tokens = TokenCreator(token_key=..., exp_time_min=30, refresh_time_min=15)
        token = tokens.create(uid=12, role="editor")
        claims = tokens.decode_token(token)

    By `TokenCreator(Settings.from_env())` a script or a job makes the tokens of the gateway that has the same
    settings. Several threads can use one at once.

    Args:
        settings: the settings.
        options: instead of them, each as a keyword argument, as `Settings` takes them.

    Raises:
        ConfigError: a setting is missing or wrong.
        TypeError: both settings and keyword arguments are given, or the settings are none.
    """

    def __init__(self, settings: Settings | None = None, **options: Any) -> None:
        if settings is not None and options:
            raise TypeError("give either settings or keyword arguments, not both")
        settings = settings if settings is not None else Settings(**options)
        if not isinstance(settings, Settings):
            raise TypeError(f"settings must be Settings, not {type(settings).__name__}")
        self._cache = TokenCache(settings.token_cache_size)
        # Returns who was verified before by an `Authorization` header, good or not any more.
        self.known: Callable[[str | None], Identity | None] = self._cache.get
        # Returns the moment up to which all sessions of a uid were ended; set by what can end them.
        self.ended_until: Callable[[str], float] = _never
        self._key_news: list[_KeyNews] = []
        self._own = self._own_source(settings)
        self._issuers = self._foreign_sources(settings)
        self._changing: list[KeySource] = [source.keys for source in self._issuers.values()]
        if self._own is not None and not isinstance(self._own.keys, FixedKeys):
            self._changing.append(self._own.keys)
        self._uid_claim = settings.uid_claim
        self._lifetime = settings.exp_time_min * 60
        self._skew = max(settings.leeway_sec, CLOCK_SKEW_SEC)
        self._longest = settings.max_token_bytes
        self._token_header = settings.token_header
        source = {"iss": settings.issuer, "aud": settings.audience}
        self._claimed_source = {name: value for name, value in source.items() if value is not None}
        self._issued = {"uid", "iat", "exp", "auth_time", "sid", "iss", "aud", self._uid_claim}

    def now(self) -> float:
        """Return the time, in seconds since 1970. All that happens here goes by it.

        A class with another `now` has another clock. For tests there is `gateway.testing.standing_clock`.
        """
        return time.time()

    @property
    def token_header(self) -> str:
        """The name of the header under which an app is handed the token to use next."""
        return self._token_header

    @property
    def keys_change(self) -> bool:
        """Whether keys may change while this process runs, so that it must `keep_up` with them."""
        return bool(self._changing)

    def keep_up(self) -> None:
        """Take in changed keys, if it is time to look; a request that comes does."""
        if self._changing:
            now = self.now()
            for keys in self._changing:
                keys.keep_up(now)

    def create(self, uid: int | str, claims: Mapping[str, Any] | None = None, **more_claims: Any) -> str:
        """Return a token that begins a session of `uid`.

            tokens.create(12)
            tokens.create("anna", scope="reports:read", roles=["editor"])

        Args:
            uid: an integer, or 1 to 255 visible ASCII characters without a comma.
            claims: extra claims, JSON values by name, kept through every renewal.
            more_claims: the same as keyword arguments.

        Returns:
            The token, a compact JWS (RFC 7515 section 3.1), good from now on for `exp_time_min`.

        Raises:
            InvalidClaimsError: the uid or a claim would be refused in a token, a claim is named like one
                that is issued, or the token would be longer than `max_token_bytes`.
            KeysUnavailableError: there is no key to sign with, for now.
            ConfigError: nothing is issued here.
        """
        extra = {**(claims or {}), **more_claims}
        if len(extra) < len(claims or {}) + len(more_claims):
            raise InvalidClaimsError("a claim is given twice; one must go")
        return self.begin(uid, extra, self.beginning(uid))

    def begin(self, uid: int | str, claims: Mapping[str, Any], began: float) -> str:
        """Return a token for a session of `uid` that has begun at a moment, as `beginning` tells it.

        Raises:
            InvalidClaimsError, KeysUnavailableError, ConfigError: as `create`.
        """
        taken = sorted(self._issued.intersection(claims))
        if taken:
            line = f"{', '.join(taken)}: issued by the gateway, so no extra claim"
            raise InvalidClaimsError(f"{line}; it must have another name")
        now = self.now()
        issued = {
            self._uid_claim: uid,
            **self._claimed_source,
            "iat": int(now),
            "exp": int(now) + self._lifetime,
            "auth_time": began,
            "sid": secrets.token_urlsafe(16),
        }
        return self._minted({**issued, **claims}, now)

    def beginning(self, uid: int | str) -> float:
        """Return when a session of `uid` begins that begins now, in seconds since 1970.

        That is after the end of all its sessions before, if clocks are nearly right: both may be told by one
        clock that has not moved on, or by those of two machines.
        """
        now = round(self.now(), 6)
        ended = self.ended_until(uid_text(uid) or "")
        return round(ended + SHORTEST_SEC, 6) if now <= ended < now + self._skew else now

    def refresh(self, token: str) -> str:
        """Return the token to use next: a renewed one if `token` is due, else `token` itself.

        A renewal keeps every claim but `iat` and `exp`, and never outlives the session.

        Args:
            token: a good token.

        Returns:
            The same text, unless fewer than `refresh_time_min` minutes are left and a renewal lasts longer.

        Raises:
            TokenError, KeysUnavailableError: as `decode_token`.
        """
        now = self.now()
        return self.renew(self.verify(token, now), now).token

    def decode_token(self, token: str) -> dict[str, Any]:
        """Return the claims of a good token.

        Whether its session was ended is not asked here: that is what the gateway does.

        Args:
            token: the token, without `Bearer`.

        Returns:
            All its claims by name; a new dict on each call.

        Raises:
            InvalidTokenError: it is no token of ours, nor of an issuer that the policy file names.
            ExpiredTokenError: it was, and its time is over.
            InvalidClaimsError: it is, and a claim in it is not acceptable.
            KeysUnavailableError: its issuer's keys are not known, or too old to be believed.
        """
        return self.verify(token, self.now()).claims()

    def verify(self, token: str, now: float) -> Identity:
        """Return a token that is good at `now`, in seconds since 1970, with the facts about it.

        Raises:
            TokenError, KeysUnavailableError: as `decode_token`.
        """
        if not isinstance(token, str) or len(token) > self._longest:
            raise InvalidTokenError("not text, or longer than max_token_bytes")
        self.keep_up()
        identity = self.known(BEARER + token)
        if identity is not None:
            if identity.is_good(now):
                return identity
            self._cache.drop(identity.bearer)
        return self._verify_anew(token, now)

    def holder_of(self, token: str) -> Named | None:
        """Return whose a rightly signed token is, good or not any more; None for any other."""
        try:
            source, key, claims = self._signed(token)
        except (InvalidTokenError, KeysUnavailableError):
            return None
        uid, session = source.rules.whose(claims)
        return Named(uid, source.rules.name, session, key.kid)

    def tell_of_keys(self, listener: Callable[[KeysTaken], None]) -> None:
        """Have a listener told whenever keys are taken from now on."""
        for news in self._key_news:
            news.tell = listener

    def renew(self, identity: Identity, now: float) -> Identity:
        """Return an identity with the token to use next: its own, or a renewed one if that is due.

        A renewal keeps every claim but `iat` and `exp`, and never outlives the session. None is made
        that would end no later than the token that came, or be too long to be looked at, or while there is
        no key to sign with. A token of another issuer is never renewed.
        """
        if now <= identity.due or self._own is None or identity.began is None:
            return identity
        iat = int(now)
        try:
            key = self._own.keys.signing_key(now)
        except KeysUnavailableError:
            return identity
        if identity.renewal is not None and identity.renewal[:2] == (iat, key):
            return identity.with_next(identity.renewal[2])
        exp = min(iat + self._lifetime, math.floor(self._own.rules.session_end(identity.began)))
        if exp <= identity.exp:
            return identity
        claims = {"auth_time": identity.began, **identity.claims(), "iat": iat, "exp": exp}
        token = jws.encode(claims, key)
        if len(token) > self._longest:
            return identity
        renewed = Identity(token, claims, self._own.rules.facts(claims), key, self._own.keys)
        self._cache.add(renewed)
        identity.renewal = iat, key, renewed.bearer
        return identity.with_next(renewed.bearer)

    def shortened(self, token: str, exp: int) -> str:
        """Return a good token of ours with an earlier end, and all else as it stands.

        It gives its holder nothing that the one that came does not: the claims but `exp` and the key are the
        same. It is for those who try out what happens at a token's end, as the demo lets them.

        Args:
            token: the token.
            exp: when the one returned ends, in seconds since 1970.

        Raises:
            TokenError, KeysUnavailableError: as `decode_token`.
            InvalidTokenError: it is good, and another issuer's or of a key that signs no more.
            InvalidClaimsError: it ends no later than that, or written anew it would be longer than
                `max_token_bytes`, as one may be that was written elsewhere.
        """
        now = self.now()
        self.verify(token, now)
        own = self._own
        source, key, claims = self._signed(token)
        if own is None or source is not own:
            raise InvalidTokenError("another issuer's, which alone can shorten it")
        if key != own.keys.signing_key(now):
            raise InvalidTokenError("its key signs no more")
        if exp >= claims["exp"]:
            raise InvalidClaimsError("the end must be earlier than the one it has")
        shorter = jws.encode({**claims, "exp": exp}, key)
        if len(shorter) > self._longest:
            raise InvalidClaimsError("written anew it would be longer than max_token_bytes")
        return shorter

    def issuers_without_keys(self) -> list[str]:
        """Return the names of the issuers whose keys are missing or too old."""
        self.keep_up()
        now = self.now()
        return [name for name, source in self._issuers.items() if now >= source.keys.ring.good_until]

    def public_keys(self) -> dict[str, Any]:
        """Return the public keys by which others can verify our tokens, as a JWK set (RFC 7517 section 5)."""
        self.keep_up()
        keys = self._own.keys.ring.keys if self._own is not None else ()
        jwks = [key.public_jwk() for key in keys if key.alg in ASYMMETRIC]
        return {"keys": sorted(jwks, key=itemgetter("kid"))}

    def _verify_anew(self, token: str, now: float) -> Identity:
        source, key, claims = self._signed(token)
        identity = Identity(token, claims, source.rules.judge(claims, now), key, source.keys)
        self._cache.add(identity)
        return identity

    def _signed(self, token: str) -> tuple[_ForeignSource | _OwnSource, Key, dict[str, Any]]:
        """Return whose key signed a token, that key, and the claims."""
        signed = jws.SignedToken(token)
        source = self._source_of(signed)
        key = signed.signer(source.keys.candidates(*signed.header))
        if key is None:
            raise InvalidTokenError("the key is unknown or the signature is wrong")
        return source, key, signed.claims()

    def _source_of(self, signed: jws.SignedToken) -> _ForeignSource | _OwnSource:
        """Return whose token it is, by its `iss`, which is to be believed only once it is verified."""
        iss = signed.claims().get("iss") if self._issuers else None
        foreign = self._issuers.get(iss) if isinstance(iss, str) else None
        source = foreign or self._own
        if source is None:
            raise InvalidTokenError("its issuer is unknown")
        return source

    def _minted(self, claims: dict[str, Any], now: float) -> str:
        """Sign the claims, and read them back as a verifier will, so that none is made in vain."""
        if self._own is None:
            line = "nothing is issued here: neither TOKEN_KEY nor GATEWAY_KEY_DIR is set"
            raise ConfigError(f"{line}; one of them must be")
        self.keep_up()
        key = self._own.keys.signing_key(now)
        try:
            token = jws.encode(claims, key)
            written = jws.decode(token, KeyRing([key]))
            self._own.rules.check_form(written)
        except InvalidClaimsError:
            raise
        except (InvalidTokenError, TypeError, ValueError, RecursionError):
            raise InvalidClaimsError(
                "a claim is not plain JSON: strings, numbers, booleans, null, and lists and objects of them"
            ) from None
        if written.keys() != claims.keys():
            raise InvalidClaimsError("the name of a claim must be text")
        if len(token) > self._longest:
            raise InvalidClaimsError(
                f"the token would be {len(token)} bytes, and none over {self._longest} is looked at;"
                " it must have fewer claims, or GATEWAY_MAX_TOKEN_BYTES be more"
            )
        return token

    def _foreign_sources(self, settings: Settings) -> dict[str, _ForeignSource]:
        return {
            rules.issuer: _ForeignSource(ForeignRules(rules, settings.issuers), self._fetched_keys(rules))
            for rules in settings.issuers
        }

    def _fetched_keys(self, rules: IssuerRules) -> FetchedKeys:
        news = self._news_of(rules.issuer)
        keys = FetchedKeys(rules, self.now, news)
        news.watch(keys)
        return keys

    def _own_source(self, settings: Settings) -> _OwnSource | None:
        return _OwnSource(OwnRules(settings), self._own_keys(settings)) if settings.signs else None

    def _own_keys(self, settings: Settings) -> OwnKeys:
        if settings.key_ring is not None:
            news = self._news_of(None)
            folder = KeyFolder(Path(str(settings.key_dir)), settings.key_ring, self.now, news)
            news.watch(folder)
            return folder
        in_use = [settings.token_key, *settings.previous_keys]
        return FixedKeys(
            *(Key.secret(secret, alg=settings.algorithm) for secret in in_use if secret is not None)
        )

    def _news_of(self, issuer: str | None) -> _KeyNews:
        news = _KeyNews(issuer, self._cache)
        self._key_news.append(news)
        return news


def _gone() -> None:
    """There is no source yet."""


def _never(_: str) -> float:
    return -math.inf
