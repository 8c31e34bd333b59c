"""The playground in a real browser: what it shows, what it sends, and what it never does."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from tests.integration.servers import DEADLINE, Server, log_of
from tests.support import MINUTE, forge, in_use
from tests.system.browsers import COMPLETE, PASSWORD, Playground, Shown, demo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.system

SOON = {**COMPLETE, "GATEWAY_STATE_SYNC_SEC": "0.2"}
HOSTILE = """x'"$(id)`id`;<img/src=x/onerror=document.title='run'>&amp;\\"""
MARKUP = "<img src=x onerror=document.title='run'><script>document.title='run'</script>"
BEGUN = "Issued: the session began with this token."
RENEWED = "Renewed: the gateway gave another token, now the current one."
BUTTONS = {
    "As it is": Shown(
        "200 OK", "", "Every rule is met: the gateway let the request through, and told the app who sends it."
    ),
    "A letter cut off": Shown(
        "498 Invalid Token", "invalid_token", "The token is malformed or its signature is wrong."
    ),
    "Another uid": Shown("400 Bad Request", "uid_mismatch", "The uid header is not the uid of the token."),
    "No uid": Shown(
        "400 Bad Request", "missing_credentials", "The Authorization or the uid header is missing."
    ),
    "After expiry": Shown("401 Unauthorized", "token_expired", "The token is expired."),
    "Near expiry": Shown(
        "200 OK",
        "",
        "The token has fewer than 15 minutes left: the gateway renewed it,"
        " and the app was handed the new one.",
    ),
    "After logging out": Shown("401 Unauthorized", "token_revoked", "The session is ended."),
}

Opened = Callable[..., Playground]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with demo(tmp_path_factory.mktemp("demo"), GATEWAY_LOG_FORMAT="json", **SOON) as server:
        yield server


@pytest.fixture
def playground(page: Page, server: Server) -> Iterator[Playground]:
    """The page, of which the browser must have nothing to complain."""
    opened = Playground(page, server)
    yield opened
    assert opened.faults == []


@pytest.fixture
def inside(playground: Playground) -> Playground:
    """The page, with somebody logged in."""
    playground.log_in()
    return playground


@pytest.fixture
def elsewhere(page: Page, tmp_path: Path) -> Iterator[Opened]:
    """What opens the page of a gateway with other settings."""
    with contextlib.ExitStack() as servers:
        yield lambda **variables: Playground(page, servers.enter_context(demo(tmp_path, **variables)))


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def seconds(shown: str) -> int:
    """What a clock shows, as in 14:59."""
    minutes, _, rest = shown.partition(":")
    return int(minutes) * 60 + int(rest)


# What each button shows


@pytest.mark.parametrize("button", BUTTONS)
def test_a_button_shows_what_is_answered_and_why(inside: Playground, button: str) -> None:
    assert inside.press(button) == BUTTONS[button]


@pytest.mark.parametrize("button", BUTTONS)
def test_the_curl_line_is_answered_the_same(inside: Playground, button: str) -> None:
    shown = inside.press(button)
    assert status_by_curl(inside) == shown.status[:3]


def status_by_curl(playground: Playground) -> str:
    line = f"{playground.text('curl')} -s -o /dev/null -w '%{{http_code}}'"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=DEADLINE, check=True)
    return done.stdout


def test_the_request_is_shown_as_it_was_sent(inside: Playground) -> None:
    with inside.page.expect_request("**/whoami") as sent:
        inside.press("Another uid")
    headers = sent.value.headers
    assert inside.text("request").splitlines() == [
        "GET /whoami",
        f"Host: {inside.page.url.split('/')[2]}",
        f"Authorization: {headers['authorization']}",
        f"uid: {headers['uid']}",
    ]


def test_what_is_left_out_of_a_request_is_said(inside: Playground) -> None:
    inside.press("No uid")
    assert inside.text("request").splitlines()[-1] == "(no uid)"


def test_the_answer_is_shown_with_headers_and_body(inside: Playground) -> None:
    inside.press("A letter cut off")
    lines = inside.text("response").splitlines()
    assert lines[0] == "498 Invalid Token"
    assert any(line.startswith('www-authenticate: Bearer realm="gateway", error=') for line in lines)
    assert lines[-1] == '{"error": "Invalid Token", "code": "invalid_token"}'


def test_the_line_is_copied(inside: Playground) -> None:
    inside.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    inside.press("As it is")
    inside.button("Copy").click()
    inside.button("Copied").wait_for()
    assert inside.page.evaluate("navigator.clipboard.readText()") == inside.text("curl")


def test_the_answers_of_before_are_listed(inside: Playground) -> None:
    for button in ("As it is", "No uid", "Another uid"):
        inside.press(button)
    lines = inside.page.get_by_role("list", name="Before that").get_by_role("listitem").all_text_contents()
    last, first = lines
    assert last.endswith(" No uid 400 Bad Request · missing_credentials")
    assert first.endswith(" As it is 200 OK")


# The token and its times


def test_the_token_is_shown_in_its_parts(inside: Playground) -> None:
    parts = inside.page.locator("#compact span").all_text_contents()
    assert ".".join(parts) == inside.token
    assert json.loads(inside.text("header")) == jwt.get_unverified_header(inside.token)
    assert json.loads(inside.text("claims")) == claims_of(inside.token)


def test_a_number_too_large_for_javascript_is_shown_as_it_stands(playground: Playground) -> None:
    uid = 12345678901234567890
    playground.bring(in_use(uid=uid))
    assert json.loads(playground.text("claims"))["uid"] == uid
    assert playground.press("As it is") == BUTTONS["As it is"]


def test_the_clocks_go_down_to_renewal_and_expiry(page: Page, server: Server) -> None:
    page.clock.install()
    playground = Playground(page, server)
    playground.log_in()
    assert 14 * MINUTE < seconds(playground.text("renewal-left")) <= 15 * MINUTE
    assert 29 * MINUTE < seconds(playground.text("expiry-left")) <= 30 * MINUTE
    page.clock.fast_forward(5 * MINUTE * 1000)
    assert 9 * MINUTE < seconds(playground.text("renewal-left")) <= 10 * MINUTE
    assert 24 * MINUTE < seconds(playground.text("expiry-left")) <= 25 * MINUTE
    page.clock.fast_forward(11 * MINUTE * 1000)
    assert playground.text("renewal-left") == "0:00"
    assert playground.text("renewal-note") == "due: the next request renews it"


def test_a_token_that_expires_ends_the_session(page: Page, server: Server) -> None:
    page.clock.install()
    playground = Playground(page, server)
    playground.log_in()
    page.clock.fast_forward(31 * MINUTE * 1000)
    page.get_by_text("The session is over: whatever").wait_for()
    assert playground.events[-1] == "Ended: the token expired."


def test_a_wrong_clock_of_the_browser_does_not_count(page: Page, server: Server) -> None:
    page.clock.install(time=datetime(2001, 1, 1, tzinfo=UTC))
    playground = Playground(page, server)
    playground.log_in()
    assert 29 * MINUTE < seconds(playground.text("expiry-left")) <= 30 * MINUTE


def test_a_renewed_token_becomes_the_current_one(inside: Playground) -> None:
    before = claims_of(inside.token)
    inside.press("Near expiry")
    after = claims_of(inside.token)
    assert inside.token in inside.text("response")
    assert after["sid"] == before["sid"]
    assert inside.events[-1] == RENEWED
    assert inside.press("As it is").status == "200 OK"


def test_an_expired_copy_leaves_the_current_one_alone(inside: Playground) -> None:
    before = inside.token
    inside.press("After expiry")
    assert inside.token == before
    assert inside.press("As it is").status == "200 OK"
    assert len(inside.events) == 1


def test_a_session_that_was_renewed_before_is_shown_from_its_beginning(playground: Playground) -> None:
    issued = claims_of(in_use(minutes_left=25))["iat"]
    playground.bring(in_use(minutes_left=25, auth_time=issued - 20 * MINUTE))
    assert playground.events == ["Begun: the session.", "Issued: this token."]


def test_a_token_that_does_not_say_when_it_began_is_said_never_to_be_renewed(playground: Playground) -> None:
    playground.bring(in_use(auth_time=..., iat=...))
    assert playground.text("renewal-note") == "never: the token does not say when it began"
    assert playground.press("Near expiry") == BUTTONS["As it is"]


def test_a_token_that_is_forgotten_while_it_is_sent_stays_forgotten(inside: Playground) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    inside.page.route("**/auth/revoke", hold)
    with inside.page.expect_request("**/auth/revoke"):
        inside.button("After logging out").click()
    inside.button("Forget it").click()
    held[0].continue_()
    inside.page.locator("body[data-busy='']").wait_for()
    assert inside.button("Log in").is_visible()
    assert inside.text("waiting") == "Nothing was sent yet."
    assert "eyJ" not in inside.page.content()


def test_logging_out_ends_the_session_for_good(inside: Playground) -> None:
    inside.press("After logging out")
    assert inside.events == [BEGUN, "Ended: logged out."]
    assert inside.press("As it is") == BUTTONS["After logging out"]
    assert inside.press("After logging out") == BUTTONS["After logging out"]
    assert inside.press("Near expiry") == BUTTONS["After logging out"]


def test_one_can_begin_again(inside: Playground) -> None:
    inside.press("After logging out")
    inside.button("Begin again").click()
    inside.log_in("anna")
    assert inside.text("whose") == "anna"
    assert inside.events == [BEGUN]


# What goes wrong


def test_a_wrong_password_is_said_and_forgotten(playground: Playground) -> None:
    playground.log_in(password="wrong")
    alert = playground.page.get_by_role("alert").filter(has_text="The uid or the password is wrong")
    assert (alert.text_content() or "").startswith("401 Unauthorized. ")
    assert playground.page.get_by_label("Password").input_value() == ""


def test_who_guesses_too_often_is_told_when_to_try_again(elsewhere: Opened) -> None:
    playground = elsewhere(**SOON, GATEWAY_LOGIN_TRIES="1")
    playground.log_in(password="wrong")
    playground.log_in(password="wrong")
    said = playground.text("enter-said")
    assert said.startswith("429 Too Many Requests. Too many logins have failed: whoever guesses must wait.")
    assert "Try again in " in said


def answered(status: int, body: str, **headers: str) -> Callable[[Route], None]:
    return lambda route: route.fulfill(status=status, body=body, headers=headers)


@pytest.mark.parametrize(
    ("handler", "shown"),
    [
        pytest.param(
            lambda route: route.abort(),
            Shown(
                "No answer",
                "",
                "The server cannot be reached: it may have been stopped. Start it, and send again.",
            ),
            id="unreachable",
        ),
        pytest.param(
            answered(503, '{"error": "x", "code": "state_unavailable"}', **{"Retry-After": "2"}),
            Shown(
                "503 Service Unavailable",
                "state_unavailable",
                "The state store cannot be asked. Try again in 2 seconds.",
            ),
            id="503",
        ),
        pytest.param(
            answered(502, "<h1>Bad Gateway</h1>"),
            Shown(
                "502 Bad Gateway",
                "",
                "None of the rules: the app, the server or a proxy in front of it answered.",
            ),
            id="a proxy's",
        ),
    ],
)
def test_an_answer_that_is_none_of_the_rules_is_said_to_be_none(
    inside: Playground, handler: Callable[[Route], None], shown: Shown
) -> None:
    inside.page.route("**/whoami", handler)
    assert inside.press("As it is") == shown


def test_a_token_too_long_for_the_server_is_said_to_be_refused_by_that(playground: Playground) -> None:
    playground.bring(in_use(note="x" * 8000))
    assert playground.press("As it is") == Shown(
        "431 Request Header Fields Too Large",
        "",
        "The headers are longer than the server reads: the gateway never saw them.",
    )


@pytest.mark.parametrize("before", ["", "Bearer ", "\n bearer  "])
def test_a_token_is_taken_as_a_terminal_broke_it(playground: Playground, before: str) -> None:
    token = in_use()
    playground.bring(f"{before}{token[:50]}\n{token[50:90]} \r\n {token[90:]}\n")
    assert playground.token == token


def test_nothing_is_marked_once_the_token_is_forgotten(inside: Playground) -> None:
    inside.press("As it is")
    assert inside.page.locator(".experiments .last").count() == 1
    inside.button("Forget it").click()
    assert inside.page.locator(".experiments .last").count() == 0


@pytest.mark.parametrize(
    ("token", "uid", "said"),
    [
        ("abc", "", "A token is three parts with a dot between them."),
        ("a.b.c", "", "A part of the token is not JSON in base64url."),
        (forge([]), "", "A part of the token is no JSON object."),
        (in_use(), "✓", "A header cannot carry this uid."),
        # What a terminal would take for the end of a paste, and then for a key that runs the line.
        (in_use(uid="12\x1b[201~\x0f"), "", "A header cannot carry this uid."),
        (in_use(uid="12\x9b201~"), "", "A header cannot carry this uid."),
        (in_use(uid="12\n"), "", "A header cannot carry this uid."),
    ],
)
def test_what_cannot_be_used_is_said(playground: Playground, token: str, uid: str, said: str) -> None:
    playground.bring(token, uid)
    assert playground.text("enter-said") == said
    assert playground.page.get_by_role("heading", name="The token").is_hidden()


# What it never does


def test_no_token_gets_into_an_address_a_store_or_a_log(inside: Playground, server: Server) -> None:
    tokens = [inside.token]
    for button in BUTTONS:
        inside.press(button)
        tokens += [inside.token, inside.text("request").split("Bearer ")[1].split()[0]]
    signatures = {token.split(".")[2] for token in tokens} | {PASSWORD}
    kept = json.dumps(inside.page.context.storage_state())
    kept += inside.page.evaluate("JSON.stringify([{...sessionStorage}, history.state, window.name])")
    log = log_of(server)
    assert '"GET /whoami HTTP/1.1"' in log
    assert '"code":"token_expired"' in log
    for place in (kept, log, *inside.asked, inside.page.url):
        assert not [secret for secret in signatures if secret in place]
        assert "eyJ" not in place


def test_a_reload_forgets_the_token(inside: Playground) -> None:
    inside.page.reload()
    inside.button("Log in").wait_for()
    assert inside.button("As it is").is_disabled()
    assert "eyJ" not in inside.page.content()


def test_forgetting_leaves_nothing_of_it_on_the_page(inside: Playground) -> None:
    inside.press("As it is")
    inside.button("Forget it").click()
    assert inside.page.get_by_label("uid", exact=True).evaluate("field => field === document.activeElement")
    assert "eyJ" not in inside.page.content()
    assert inside.page.text_content("#whose") == ""


def test_nothing_is_asked_of_anybody_else(inside: Playground) -> None:
    inside.press("As it is")
    assert {address.split("/")[2] for address in inside.asked} == {inside.page.url.split("/")[2]}


def test_a_hostile_uid_is_text(playground: Playground) -> None:
    playground.log_in(HOSTILE)
    assert playground.text("whose") == HOSTILE
    assert playground.press("As it is") == BUTTONS["As it is"]
    assert status_by_curl(playground) == "200"
    check_that_nothing_ran(playground)


def test_hostile_claims_are_text(playground: Playground) -> None:
    changes: dict[str, Any] = {MARKUP: MARKUP}
    playground.bring(in_use(**changes))
    assert json.loads(playground.text("claims"))[MARKUP] == MARKUP
    assert playground.press("As it is") == BUTTONS["As it is"]
    check_that_nothing_ran(playground)


def test_a_header_of_objects_is_text(playground: Playground) -> None:
    no_text = {"toString": 1, "valueOf": 1}
    playground.bring(forge({"uid": 12}, {"alg": no_text, "kid": no_text}))
    assert 'the key {"toString":1,"valueOf":1}' in playground.text("signature")
    assert playground.press("As it is").code == "invalid_token"


@pytest.mark.parametrize("uid", [HOSTILE, "\\';echo run;#", "'\\\\", "!!$HOME*~"])
@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "fish"])
def test_every_shell_reads_the_curl_line_alike(playground: Playground, shell: str, uid: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    playground.bring(in_use(uid=uid))
    playground.press("As it is")
    line = playground.text("curl").replace("curl -i", "printf '%s\\n'", 1)
    done = subprocess.run([shell, "-c", line], capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert done.stdout.splitlines()[-1] == f"uid: {uid}"


def check_that_nothing_ran(playground: Playground) -> None:
    assert playground.page.title() == "Playground of the auth gateway"
    assert playground.page.locator("main img, main script").count() == 0


# Other settings


def test_other_names_work_as_well(elsewhere: Opened) -> None:
    playground = elsewhere(**SOON, GATEWAY_PREFIX="/_gateway", GATEWAY_TOKEN_HEADER="X-Next")
    playground.log_in()
    before = playground.token
    assert playground.press("Near expiry") == BUTTONS["Near expiry"]
    assert "x-next: " in playground.text("response")
    assert playground.token != before
    assert playground.press("After logging out") == BUTTONS["After logging out"]


def test_a_renewal_that_the_app_alone_is_told_of_is_taken(elsewhere: Opened) -> None:
    playground = elsewhere(**SOON, GATEWAY_TOKEN_IN_RESPONSE="false")
    playground.log_in()
    assert playground.press("Near expiry") == BUTTONS["Near expiry"]
    assert playground.events[-1] == RENEWED


def test_registered_statuses_are_shown_where_they_are_answered(elsewhere: Opened) -> None:
    playground = elsewhere(**SOON, GATEWAY_STATUS_PROFILE="rfc6750")
    playground.log_in()
    statuses = [playground.press(name).status for name in ("A letter cut off", "Another uid", "No uid")]
    assert statuses == ["401 Unauthorized", "403 Forbidden", "401 Unauthorized"]


def test_a_uid_that_need_not_be_sent_is_said_to_be_unneeded(elsewhere: Opened) -> None:
    playground = elsewhere(**SOON, GATEWAY_REQUIRE_UID="false")
    playground.log_in()
    shown = playground.press("No uid")
    assert shown.status == "200 OK"
    assert shown.rule.startswith("GATEWAY_REQUIRE_UID is false")


def test_without_a_login_a_token_is_brought(elsewhere: Opened) -> None:
    playground = elsewhere()
    assert "GATEWAY_STATE_URL" in playground.text("no-login")
    playground.bring(in_use(minutes_left=20))
    assert playground.text("whose") == "12"
    assert playground.press("As it is") == BUTTONS["As it is"]
    out = playground.button("After logging out")
    assert out.is_disabled()
    assert "GATEWAY_STATE_URL" in (out.text_content() or "")


def test_without_endpoints_a_token_is_brought(elsewhere: Opened) -> None:
    playground = elsewhere(**SOON, GATEWAY_PREFIX="")
    playground.bring(in_use())
    assert playground.press("As it is") == BUTTONS["As it is"]
    assert "GATEWAY_PREFIX" in (playground.button("After logging out").text_content() or "")


def test_without_renewals_the_page_says_so(elsewhere: Opened) -> None:
    playground = elsewhere(**SOON, REFRESH_TIME_MIN="0")
    playground.log_in()
    assert playground.button("Near expiry").is_disabled()
    assert "REFRESH_TIME_MIN is 0" in (playground.button("Near expiry").text_content() or "")
    assert playground.text("renewal-note") == "never: REFRESH_TIME_MIN is 0"


# For everybody


def test_all_can_be_done_by_keyboard(playground: Playground) -> None:
    keyboard = playground.page.keyboard
    tab_to(playground, "[name=uid]")
    keyboard.type("admin")
    keyboard.press("Tab")
    keyboard.type(PASSWORD)
    keyboard.press("Enter")
    playground.page.locator("#token-title:focus").wait_for()
    tab_to(playground, "[data-experiment=other]")
    keyboard.press("Enter")
    playground.page.get_by_text("The uid header is not the uid of the token.").first.wait_for()
    assert playground.page.locator("[data-experiment=other]:focus").count() == 1
    tab_to(playground, "#copy")


def tab_to(playground: Playground, selector: str) -> None:
    for _ in range(30):
        playground.page.keyboard.press("Tab")
        if playground.page.locator(f"{selector}:focus").count():
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def test_everything_has_a_name(inside: Playground) -> None:
    inside.press("As it is")
    page = inside.page
    named: list[tuple[Any, str]] = [
        ("heading", "Playground"),
        ("region", "The token"),
        ("region", "The session"),
        ("region", "Send a request"),
        ("region", "The answer"),
        ("progressbar", "Until renewal"),
        ("progressbar", "Until expiry"),
        ("list", "What has happened"),
        ("group", "The same with curl"),
    ]
    for role, name in named:
        assert page.get_by_role(role, name=name, exact=True).count() == 1, name
    assert page.get_by_role("banner").count() == 1
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("contentinfo").count() == 1
    assert page.get_by_role("img", name="This token issued").count() == 1


def test_an_answer_is_announced(inside: Playground) -> None:
    inside.press("A letter cut off")
    status = inside.page.get_by_role("status")
    assert status.text_content() == (
        "498 Invalid Token. invalid_token. The token is malformed or its signature is wrong."
    )


@pytest.mark.parametrize("width", [320, 390, 640, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser: Browser, server: Server, width: int) -> None:
    with browser.new_context(viewport={"width": width, "height": 700}) as context:
        playground = Playground(context.new_page(), server)
        assert overhang(playground) <= 0
        playground.log_in("a-uid-without-a-space-in-it" * 9)
        for button in ("Near expiry", "After logging out"):
            playground.press(button)
            assert overhang(playground) <= 0


def test_an_answer_is_in_view_beside_the_buttons_on_a_small_screen(browser: Browser, server: Server) -> None:
    screen: dict[str, Any] = {"viewport": {"width": 390, "height": 700}, "reduced_motion": "reduce"}
    with browser.new_context(**screen) as context:
        playground = Playground(context.new_page(), server)
        playground.log_in()
        playground.press("As it is")
        rule = playground.page.locator("#rule").bounding_box()
        assert rule is not None
        assert 0 <= rule["y"] <= 700 - rule["height"]


def overhang(playground: Playground) -> int:
    """By how many pixels the page can be scrolled sideways, or the widest element stands out."""
    found: int = playground.page.evaluate(
        """() => Math.max(
          document.documentElement.scrollWidth - innerWidth,
          ...[...document.querySelectorAll("body *:not(.unseen)")].map((each) =>
            Math.floor(each.getBoundingClientRect().right - innerWidth)),
        )"""
    )
    return found


# The text of each element on what is behind it, as WCAG 2 counts contrast.
CONTRASTS = """
() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const pixel = (...colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
    }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (channels) => {
    const [red, green, blue] = channels.map((each) => each / 255)
      .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const style = (each) => getComputedStyle(each);
  const behind = (each) => each ? [...behind(each.parentElement), style(each).backgroundColor] : [];
  const texts = [...document.querySelectorAll("body *")].filter((each) => each.checkVisibility()
    && [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return texts.map((each) => {
    const ground = behind(each);
    const [one, other] = [light(pixel(...ground)), light(pixel(...ground, style(each).color))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    return [ratio, each.textContent.slice(0, 40)];
  });
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read_in_light_and_dark(browser: Browser, server: Server, scheme: Any) -> None:
    with browser.new_context(color_scheme=scheme) as context:
        playground = Playground(context.new_page(), server)
        contrasts = playground.page.evaluate(CONTRASTS)
        playground.log_in()
        for button in BUTTONS:
            playground.press(button)
            contrasts += playground.page.evaluate(CONTRASTS)
        assert len(contrasts) > 100
        assert [each for each in contrasts if each[0] < 4.5] == []


def test_light_and_dark_differ(browser: Browser, server: Server) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme) as context:
            page = Playground(context.new_page(), server).page
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
