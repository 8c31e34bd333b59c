"""The table of rejections."""

from __future__ import annotations

from gateway.rejections import RULES, rejections, status_line

Header = list[tuple[str, str]]


def test_every_rule_has_a_code_of_its_own() -> None:
    assert len({rule.code for rule in RULES}) == len(RULES)


def test_a_rejection_is_made_once_and_answers_many() -> None:
    """A server may change the list of headers that it is given (PEP 3333)."""
    rejection = rejections("classic")["invalid_token"]
    given: list[Header] = []

    def start_response(status: str, headers: Header, *_: object) -> object:
        given.append(list(headers))
        headers.append(("Server", "x"))
        return print

    for _ in range(2):
        rejection({"REQUEST_METHOD": "GET"}, start_response)  # type: ignore[arg-type]
    assert given[0] == given[1]


def test_its_repr_tells_code_and_status() -> None:
    assert repr(rejections("classic")["invalid_token"]) == "Rejection('invalid_token', 498)"


def test_a_status_has_its_phrase() -> None:
    assert (status_line(403), status_line(498)) == ("403 Forbidden", "498 Invalid Token")
