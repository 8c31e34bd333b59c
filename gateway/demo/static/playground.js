/** The page: who is logged in, what was sent, and what is shown of it. The token is in `session` alone. */

import { byId, element, show } from "./elements.js";
import { EXPERIMENTS, refused, sentence } from "./experiments.js";
import { momentsOf, showTimes, told } from "./times.js";
import { onOneLine, pretty, read, text, uidOf } from "./token.js";
import { addressOf, curlOf, headerOf, objectIn, send, sendable } from "./wire.js";

/** @typedef {import("./experiments.js").Exchange} Exchange */

const MOST_BEFORE = 5;
const PARTS = ["header", "claims", "signature"];

let settings;
let offset = 0; // of the server's clock, in seconds
let session = null;
let busy = false;
const before = [];

const now = () => Date.now() / 1000 + offset;

async function start() {
  const asked = Date.now();
  const answer = await send({ method: "GET", path: "/demo/settings.json", headers: [] }, {});
  if (answer.status !== 200) return fault(`The page could not ask for its settings: ${answer.reason}. Reload it.`);
  settings = objectIn(answer.body);
  offset = settings.now - (asked + Date.now()) / 2000;
  offerLogin();
  byId("experiments").append(...Object.entries(EXPERIMENTS).map(offer));
  byId("login").addEventListener("submit", logIn);
  byId("paste").addEventListener("submit", paste);
  byId("forget").addEventListener("click", forget);
  byId("copy").addEventListener("click", copy);
  setInterval(tick, 250);
}

function fault(text) {
  show("fault", text);
  byId("fault").hidden = false;
}

function offerLogin() {
  if (settings.login) return;
  byId("login").hidden = true;
  byId("paste-box").open = true;
  show("enter-title", "Bring a token");
  const missing = settings.prefix
    ? "GATEWAY_STATE_URL, and GATEWAY_USERS_URL or GATEWAY_LOGIN"
    : "a GATEWAY_PREFIX that is not empty";
  show("no-login", `Nobody can log in here: that takes ${missing}.`);
  byId("no-login").hidden = false;
}

function offer([name, { title, hint, lacks }]) {
  const why = lacks?.(settings) || "";
  const [titled, hinted] = [element("strong", "", title), element("span", "", why || hint)];
  [titled.id, hinted.id] = [`title-${name}`, `hint-${name}`];
  const button = element("button", "", titled, hinted);
  button.setAttribute("aria-labelledby", titled.id);
  button.setAttribute("aria-describedby", hinted.id);
  button.dataset.experiment = name;
  button.dataset.lacking = why ? "yes" : "";
  button.disabled = true;
  button.addEventListener("click", () => run(name));
  return element("li", "", button);
}

// Who is logged in

async function logIn(event) {
  event.preventDefault();
  const { uid, password } = event.target.elements;
  if (busy) return;
  const given = { uid: uid.value.trim(), password: password.value };
  password.value = "";
  await alone(async () => {
    const headers = [["Content-Type", "application/json"]];
    const body = JSON.stringify(given);
    const answer = await send({ method: "POST", path: settings.prefix, headers, body }, settings.reasons);
    if (answer.status === 200) return enter(objectIn(answer.body).token ?? "", given.uid);
    complain(answer.status ? `${answer.status} ${answer.reason}. ${refused(answer, settings)}` : "The server cannot be reached.");
    password.focus();
  });
}

function paste(event) {
  event.preventDefault();
  const { token, uid } = event.target.elements;
  // A terminal breaks a long line, and some copy the header's whole value.
  enter(token.value.replace(/^\s*bearer\s+/i, "").replace(/\s+/g, ""), uid.value.trim());
}

function complain(text) {
  show("enter-said", text);
  if (text) byId("enter-said").scrollIntoView({ block: "nearest" });
}

/** Begin with a token. */
function enter(token, uid) {
  try {
    const claimed = uid || uidOf(read(token), settings.uid_claim);
    if (!sendable([["Authorization", token], ["uid", claimed]])) throw new Error("A header cannot carry this uid.");
    session = { token, uid: claimed, ended: false };
  } catch (error) {
    return complain(error.message);
  }
  for (const form of ["login", "paste"]) byId(form).reset();
  complain("");
  show("events");
  const { issued, began } = adopt(token);
  const atOnce = Math.floor(began) === Math.floor(issued);
  if (began !== undefined && !atOnce) happened("Begun: the session.", began);
  if (issued !== undefined) happened(atOnce ? "Issued: the session began with this token." : "Issued: this token.", issued);
  arrange();
  byId("token-title").focus();
}

function forget() {
  session = null;
  before.length = 0;
  for (const id of ["compact", "whose", "header", "claims", "signature", "times", "events"]) show(id);
  for (const id of ["request", "curl", "response", "history", "announce"]) show(id);
  byId("exchange").hidden = byId("history-box").hidden = true;
  show("waiting", "Nothing was sent yet.");
  byId("waiting").hidden = false;
  mark();
  arrange();
  byId(settings.login ? "login" : "paste").elements[0].focus();
}

function arrange() {
  byId("enter").hidden = session !== null;
  byId("token").hidden = byId("session").hidden = session === null;
  for (const button of document.querySelectorAll("[data-experiment]")) {
    button.disabled = session === null || Boolean(button.dataset.lacking);
  }
  byId("send-hint").hidden = session !== null;
  byId("over").hidden = !session?.ended;
  show("forget", session?.ended ? "Begin again" : "Forget it");
}

/** Take a token as the current one, and show it. */
function adopt(token) {
  session.token = token;
  const { header, claims } = read(token);
  show("compact", ...inParts(token));
  show("whose", session.uid);
  show("header", onOneLine(header));
  show("claims", pretty(claims));
  const key = header.kid === undefined ? "the gateway’s key" : `the key ${text(header.kid)}`;
  show("signature", `${text(header.alg)}, by ${key}, over the two parts before it. Nobody without the key can make it.`);
  const times = ["auth_time", "iat", "exp"].filter((name) => typeof claims[name] === "number");
  const pair = (name) => element("div", "", element("dt", "", name), " ", element("dd", "", told(claims[name])));
  show("times", ...times.map(pair));
  session.moments = momentsOf(claims, settings);
  tick();
  return session.moments;
}

/** A token's three parts, each to be seen for itself. */
function inParts(token) {
  const parts = token.split(".");
  return parts.flatMap((part, at) => [at ? "." : "", element("span", PARTS[at], part)]);
}

function tick() {
  if (!session) return;
  const { moments } = session;
  if (now() >= moments.exp + settings.leeway_sec) end("Ended: the token expired.");
  if (moments.exp !== undefined) showTimes(moments, now(), session.ended, settings);
}

function happened(text, at = now()) {
  byId("events").append(element("li", "", element("time", "", told(at)), " ", element("span", "", text)));
}

function end(text) {
  if (session.ended) return;
  session.ended = true;
  happened(text);
  arrange();
  tick();
}

// What is sent

/** Do one thing at a time; a button that is pressed meanwhile does nothing. */
async function alone(work) {
  if (busy) return;
  busy = true;
  document.body.dataset.busy = "yes";
  try {
    await work();
  } finally {
    busy = false;
    document.body.dataset.busy = "";
  }
}

function run(name) {
  return alone(async () => {
    const one = session;
    const here = () => session === one; // it may be forgotten meanwhile
    const ended = () => here() && end("Ended: logged out.");
    const exchange = await EXPERIMENTS[name].run({ session: one, settings, say: (text) => here() && say(text), ended });
    if (!here()) return;
    const renewed = takeRenewed(exchange);
    if (exchange.answer.code === "token_revoked") end("Ended: the gateway says so.");
    present(name, exchange, sentence(exchange, settings, renewed));
  });
}

/** Adopt the token to use next, if the app was handed another than was sent. */
function takeRenewed({ asked, answer }) {
  if (asked.path !== "/whoami" || answer.status !== 200) return false;
  const next = headerOf(answer, settings.token_header) ?? objectIn(answer.body)[settings.token_key];
  const sent = asked.headers[0][1].slice("Bearer ".length);
  if (!next || next === sent) return false;
  adopt(next);
  happened("Renewed: the gateway gave another token, now the current one.");
  return true;
}

function say(text) {
  show("announce", text);
  show("waiting", text);
  byId("waiting").hidden = false;
}

/** Show an exchange, and tell of it those who cannot see it. */
function present(name, exchange, rule) {
  const { asked, answer } = exchange;
  remember();
  const status = answer.status ? `${answer.status} ${answer.reason}` : answer.reason;
  byId("exchange").dataset.kind = !answer.status ? "none" : answer.status < 300 ? "good" : "bad";
  show("status", status);
  show("code", answer.code ?? "");
  show("asked", EXPERIMENTS[name].title);
  show("rule", rule);
  show("before", exchange.before ?? "");
  show("request", ...requestLines(asked));
  show("curl", curlOf(asked));
  show("response", ...responseLines(answer, status));
  show("copy", "Copy");
  byId("waiting").hidden = true;
  byId("exchange").hidden = false;
  show("announce", [status, answer.code, rule].filter(Boolean).join(". "));
  mark(name);
  byId("rule").scrollIntoView({ block: "nearest" });
  before.unshift([told(now()), EXPERIMENTS[name].title, [status, answer.code].filter(Boolean).join(" · ")]);
}

/** Mark the button that was pressed last, if any was. */
function mark(name) {
  for (const button of document.querySelectorAll("[data-experiment]")) {
    button.classList.toggle("last", button.dataset.experiment === name);
  }
}

/** Keep the last answers, in short, below the one that is shown. */
function remember() {
  before.length = Math.min(before.length, MOST_BEFORE);
  const line = ([at, title, what]) => element("li", "", element("time", "", at), " ", title, " ", element("span", "", what));
  show("history", ...before.map(line));
  byId("history-box").hidden = !before.length;
}

function requestLines({ method, path, headers, body, changed }) {
  const { host } = addressOf(path);
  const lines = [element("span", "first", `${method} ${addressOf(path).pathname}`), "\n", ...field("Host", host)];
  for (const [name, value] of headers) lines.push(...field(name, value, name === changed));
  const missing = changed && !headers.some(([name]) => name === changed);
  if (missing) lines.push(element("mark", "", `(no ${changed})`), "\n");
  return body === undefined ? lines : [...lines, "\n", body];
}

function responseLines({ headers, body }, status) {
  const lines = [element("span", "first", status), "\n"];
  for (const [name, value] of headers) lines.push(...field(name, value, name === settings.token_header.toLowerCase()));
  return body ? [...lines, "\n", body.trimEnd()] : lines;
}

function field(name, value, marked = false) {
  const [, scheme, token] = /^(Bearer )?([\w-]+\.[\w-]+\.[\w-]+)$/.exec(value) ?? [];
  const short = marked && !token;
  const named = element(marked ? "mark" : "span", "name", `${name}:${short ? ` ${value}` : ""}`);
  if (short) return [named, "\n"];
  return [named, " ", ...(token ? [scheme ?? "", ...inParts(token)] : [value]), "\n"];
}

/** Copy the line, or have it selected where the browser lets no page copy. */
async function copy() {
  try {
    await navigator.clipboard.writeText(byId("curl").textContent);
    show("copy", "Copied");
    show("announce", "Copied.");
  } catch {
    getSelection().selectAllChildren(byId("curl"));
    show("copy", "Selected");
    show("announce", "The line is selected: copy it with the keyboard.");
  }
}

start();
