/** What can be sent, and the sentence for what is answered. */

import { objectIn, send } from "./wire.js";

/**
 * @typedef {import("./wire.js").Asked} Asked
 * @typedef {import("./wire.js").Answer} Answer
 * @typedef {{token: string, uid: string, ended: boolean}} Session
 * @typedef {{asked: Asked, answer: Answer, before?: string}} Exchange
 * @typedef {{title: string, hint: string, run: (bench: Bench) => Promise<Exchange>,
 *   lacks?: (settings: any) => string | false}} Experiment `lacks` says why it cannot be run.
 * @typedef {{session: Session, settings: any, say: (text: string) => void, ended: () => void}} Bench
 */

/** @type {Record<string, Experiment>} */
export const EXPERIMENTS = {
  plain: {
    title: "As it is",
    hint: "your token and your uid, unchanged",
    run: ({ session, settings }) => ask(whoami(session.token, session.uid), settings),
  },
  cut: {
    title: "A letter cut off",
    hint: "the last of the signature",
    run: ({ session, settings }) =>
      ask({ ...whoami(session.token.slice(0, -1), session.uid), changed: "Authorization" }, settings),
  },
  other: {
    title: "Another uid",
    hint: "somebody else’s, with your token",
    run: ({ session, settings }) =>
      ask({ ...whoami(session.token, session.uid === "root" ? "admin" : "root"), changed: "uid" }, settings),
  },
  none: {
    title: "No uid",
    hint: "your token alone",
    run: ({ session, settings }) => ask({ ...whoami(session.token), changed: "uid" }, settings),
  },
  expired: {
    title: "After expiry",
    hint: "a copy, aged past its end",
    run: (bench) => aged(bench, "expired", "has ended"),
  },
  near: {
    title: "Near expiry",
    hint: "a copy, aged until it is due",
    lacks: ({ refresh_sec }) => !refresh_sec && "Nothing is renewed here: REFRESH_TIME_MIN is 0.",
    run: (bench) => aged(bench, "near", `ends in ${span(bench.settings.refresh_sec / 2)}, if not before`),
  },
  out: {
    title: "After logging out",
    hint: "the session ended first, for good",
    lacks: ({ state, prefix }) =>
      (!state && "No session can be ended here: that takes a state store, GATEWAY_STATE_URL.") ||
      (!prefix && "No session can be ended here: GATEWAY_PREFIX is empty, and with it all endpoints are off."),
    run: loggedOut,
  },
};

/**
 * Say in one sentence which rule answered.
 * @param {Exchange} exchange
 * @param {any} settings
 * @param {boolean} renewed whether the answer brought another token
 */
export function sentence({ asked, answer }, settings, renewed) {
  if (answer.reason === "Not sent") return "A header cannot carry these letters, so the browser sent nothing.";
  if (!answer.status) return "The server cannot be reached: it may have been stopped. Start it, and send again.";
  if (renewed) {
    const window = span(settings.refresh_sec);
    return `The token has fewer than ${window} left: the gateway renewed it, and the app was handed the new one.`;
  }
  if (answer.status < 300) return accepted(asked, settings);
  return refused(answer, settings);
}

/** The sentence for a refusal. */
export function refused(answer, { rules }) {
  const wait = answer.headers.find(([name]) => name === "retry-after")?.[1];
  const again = wait ? ` Try again in ${wait} seconds.` : "";
  const rule = Object.hasOwn(rules, answer.code ?? "") ? rules[answer.code] : undefined;
  if (rule) return `${rule}.${again}`;
  if (answer.status === 431) return "The headers are longer than the server reads: the gateway never saw them.";
  if (answer.code) return `The demo app says: ${objectIn(answer.body).error}.${again}`;
  return `None of the rules: the app, the server or a proxy in front of it answered.${again}`;
}

/** A span of time, in words. */
export function span(seconds) {
  const [minutes, rest] = [Math.floor(seconds / 60), seconds % 60];
  const counted = [[minutes, "minute"], [rest, "second"]].filter(([count]) => count);
  return counted.map(([count, unit]) => `${count} ${unit}${count === 1 ? "" : "s"}`).join(" ") || "no time";
}

function accepted(asked, settings) {
  const named = asked.headers.some(([name]) => name === "uid");
  if (!named && !settings.require_uid) {
    return "GATEWAY_REQUIRE_UID is false: the token alone was enough, and the app was told its uid.";
  }
  return "Every rule is met: the gateway let the request through, and told the app who sends it.";
}

/** @returns {Asked} */
function whoami(token, uid) {
  return { method: "GET", path: "/whoami", headers: credentials(token, uid) };
}

function credentials(token, uid) {
  const headers = [["Authorization", `Bearer ${token}`]];
  return uid === undefined ? headers : [...headers, ["uid", uid]];
}

/** @returns {Promise<Exchange>} */
async function ask(asked, { reasons }, before) {
  return { asked, answer: await send(asked, reasons), before };
}

/** Have the token aged by the demo, and send that; what refuses to age it is the answer. */
async function aged({ session, settings }, left, when) {
  const headers = [...credentials(session.token, session.uid), ["Content-Type", "application/json"]];
  const request = { method: "POST", path: "/age", headers, body: JSON.stringify({ left }) };
  const first = await ask(request, settings, "The demo was asked to age the token, and could not.");
  if (first.answer.status !== 200) return first;
  const { token } = objectIn(first.answer.body);
  const before = `Before, POST /age made a copy of the token that ${when}.`;
  return ask({ ...whoami(token, session.uid), changed: "Authorization" }, settings, before);
}

/** End the session, wait until every worker knows, and send the token once more. */
async function loggedOut({ session, settings, say, ended }) {
  if (!session.ended) {
    const request = {
      method: "POST",
      path: `${settings.prefix}/revoke`,
      headers: credentials(session.token, session.uid),
    };
    const first = await ask(request, settings, "The gateway was asked to end the session, and did not.");
    if (first.answer.status !== 204) return first;
    ended();
    say(`Logged out. Waiting ${span(settings.state_sync_sec)}, until every worker knows …`);
    await new Promise((done) => setTimeout(done, settings.state_sync_sec * 1000 + 50));
  }
  const before = `Before, POST ${settings.prefix}/revoke ended the session.`;
  return ask(whoami(session.token, session.uid), settings, before);
}
