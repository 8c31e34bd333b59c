"""What Traefik does with a request by a configuration, as its documentation has it: a double, for tests.

It does what the shipped files ask for: routers by path, the middlewares `headers` and `forwardAuth`, and at
the entry point what becomes of header names, `X-Forwarded-*`, `Connection` and paths.
"""

from __future__ import annotations

import http.client
import posixpath
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.integration.servers import DEADLINE

Headers = list[tuple[str, str]]

# What is refused in a path once the option is false.
_ENCODED = {
    "allowEncodedSlash": "2f",
    "allowEncodedBackSlash": "5c",
    "allowEncodedNullCharacter": "00",
    "allowEncodedSemicolon": "3b",
    "allowEncodedPercent": "25",
    "allowEncodedQuestionMark": "3f",
    "allowEncodedHash": "23",
}
_FORWARDED = re.compile(r"x-forwarded-(proto|for|host|port|server|uri|method|prefix)|x-real-ip", re.I)
_MATCHER = re.compile(r"(Path|PathPrefix)\(`([^`]*)`\)")
_UNRESERVED = re.compile(r"%([0-9A-Fa-f]{2})")
_HOP_BY_HOP = ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")


class _AnsweredError(Exception):
    """What answers the client instead of the server behind: a status, headers and a body."""

    def __init__(self, status: int, headers: Headers | None = None, body: bytes = b"") -> None:
        super().__init__(status)
        self.answer = (status, headers or [], body)


@contextmanager
def traefik(static: dict[str, Any], dynamic: dict[str, Any]) -> Iterator[int]:
    """Serve by the two configurations at a port of 127.0.0.1, which is returned."""

    class Handler(_Handler):
        entry_point = static["entryPoints"]["web"]
        configuration = dynamic["http"]

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    entry_point: dict[str, Any]
    configuration: dict[str, Any]
    timeout = DEADLINE

    def __getattr__(self, name: str) -> Any:
        """Serve any method alike."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, *_: Any) -> None:
        """Say nothing: what went wrong is told by the answer."""

    def _serve(self) -> None:
        self.close_connection = True
        body = self._body()
        try:
            target = self._target()
            router = self._router(urlsplit(target).path)
            headers = self._entering()
            for name in router["middlewares"]:
                headers = self._through(self.configuration["middlewares"][name], headers, target)
        except _AnsweredError as answered:
            self._answer(*answered.answer)
        else:
            self._serve_from(router["service"], target, headers, body)

    def _serve_from(self, service: str, target: str, headers: Headers, body: bytes) -> None:
        (server,) = self.configuration["services"][service]["loadBalancer"]["servers"]
        try:
            answer = _sent(server["url"], self.command, target, headers, body)
        except OSError:
            answer = (502, [], b"")
        self._answer(*answer)

    def _body(self) -> bytes:
        if self.headers["Transfer-Encoding"] is None:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _target(self) -> str:
        """The target as it goes on: what is encoded without need is decoded, and the path resolved."""
        parts = urlsplit(self.path)
        options = self.entry_point["http"]
        refused = [code for name, code in _ENCODED.items() if not options["encodedCharacters"][name]]
        if any(f"%{code}" in parts.path.lower() for code in refused):
            raise _AnsweredError(400)
        path = _UNRESERVED.sub(_normalized, parts.path)
        if options["sanitizePath"]:
            slash = "/" if path.endswith(("/", "/.", "/..")) and path != "/" else ""
            path = posixpath.normpath(re.sub("/+", "/", path))
            path += slash if path != "/" else ""
        return f"{path}?{parts.query}" if parts.query else path

    def _router(self, path: str) -> dict[str, Any]:
        """The router whose rule holds, of which there is one, else nothing is found."""

        def matches(matcher: re.Match[str]) -> str:
            return str(path == matcher[2] if matcher[1] == "Path" else path.startswith(matcher[2]))

        for router in self.configuration["routers"].values():
            rule = _MATCHER.sub(matches, router["rule"])
            for sign, word in (("&&", " and "), ("||", " or "), ("!", " not ")):
                rule = rule.replace(sign, word)
            if eval(rule.strip(), {"__builtins__": {}}):
                found: dict[str, Any] = router
                return found
        raise _AnsweredError(404)

    def _entering(self) -> Headers:
        """The headers as they come in at the entry point."""
        named = ",".join(self.headers.get_all("Connection", []))
        dropped = {name.strip().lower() for name in named.split(",")} | set(_HOP_BY_HOP)
        kept = [each for each in self.headers.items() if each[0].lower() not in dropped]
        if self.entry_point["http"]["aliasHeadersStrategy"] == "delete":
            kept = [each for each in kept if re.fullmatch("[A-Za-z0-9-]+", each[0])]
        if not self.entry_point["forwardedHeaders"]["insecure"]:
            kept = [each for each in kept if not _FORWARDED.fullmatch(each[0])]
        host = self.headers.get("Host", "")
        return [*kept, ("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Host", host)]

    def _through(self, middleware: dict[str, Any], headers: Headers, target: str) -> Headers:
        if "headers" in middleware:
            return _customized(middleware["headers"]["customRequestHeaders"], headers)
        return self._verified(middleware["forwardAuth"], headers, target)

    def _verified(self, options: dict[str, Any], headers: Headers, target: str) -> Headers:
        """The headers of a request that may pass, with those of the answer that says so."""
        assert options["trustForwardHeader"] is False
        asked = _only(options["authRequestHeaders"], headers)
        asked += [("X-Forwarded-Method", self.command), ("X-Forwarded-Uri", target)]
        asked.append(("X-Forwarded-For", "127.0.0.1"))
        address = urlsplit(options["address"])
        try:
            answer = _sent(f"http://{address.netloc}", "GET", address.path, asked, b"")
        except OSError:
            raise _AnsweredError(500) from None
        status, given, _ = answer
        if not 200 <= status < 300:
            raise _AnsweredError(*answer)
        copied = options["authResponseHeaders"]
        return [each for each in headers if each not in _only(copied, headers)] + _only(copied, given)

    def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _normalized(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[1], 16))
    return character if re.fullmatch(r"[A-Za-z0-9\-._~]", character) else encoded[0].upper()


def _customized(custom: dict[str, str], headers: Headers) -> Headers:
    """The headers with these set; an empty one is deleted."""
    names = {name.lower() for name in custom}
    kept = [each for each in headers if each[0].lower() not in names]
    return kept + [(name, value) for name, value in custom.items() if value]


def _only(names: list[str], headers: Headers) -> Headers:
    wanted = {name.lower() for name in names}
    return [each for each in headers if each[0].lower() in wanted]


def _sent(base: str, method: str, target: str, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
    """Send a request with these headers alone, and return what is answered."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=DEADLINE)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            if name.lower() != "content-length":
                connection.putheader(name, value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()
    finally:
        connection.close()
