/** The clocks and the bars: how long a token and its session go on. */

import { byId } from "./elements.js";

const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A moment, in seconds since 1970, as the time of day; with its date, if it is not today. */
export function told(seconds) {
  const moment = new Date(seconds * 1000);
  if (Number.isNaN(moment.valueOf())) return "no time that a clock can show";
  return (moment.toDateString() === new Date().toDateString() ? CLOCK : FULL).format(moment);
}

/**
 * When things end, as far as the claims tell.
 * @param {Record<string, any>} claims
 */
export function momentsOf(claims, settings) {
  const number = (name) => (typeof claims[name] === "number" ? claims[name] : undefined);
  const exp = number("exp");
  const began = number("auth_time") ?? number("iat");
  const end = began === undefined ? undefined : began + settings.session_sec;
  const renewable = settings.refresh_sec > 0 && end !== undefined && Math.floor(end) > exp;
  return { issued: number("iat"), exp, began, end, due: renewable ? exp - settings.refresh_sec : undefined };
}

/** Show how long there is until renewal and until expiry, and where now is. */
export function showTimes(moments, now, ended, settings) {
  const { issued, exp, began, end, due } = moments;
  const from = issued ?? exp - settings.life_sec;
  const none = ended || due === undefined;
  clock("expiry", ended ? undefined : exp - now, exp - from, `${expiry(exp, now, ended)} ${told(exp)}`);
  clock("renewal", none ? undefined : due - now, due - from, renewal(due, end, now, ended, settings));
  bar("life", [from, due ?? exp, exp], now, [`issued ${told(from)}`, `expires ${told(exp)}`]);
  byId("whole").hidden = end === undefined;
  if (end === undefined) return ends("whole", "The token does not say when it began.", "");
  bar("whole", [began, exp, end], now, [`begun ${told(began)}`, `over for good ${told(end)}`]);
}

function expiry(exp, now, ended) {
  if (now >= exp) return "expired";
  return ended ? "would be at" : "at";
}

function renewal(due, end, now, ended, settings) {
  if (ended) return "never: the session is over";
  if (!settings.refresh_sec) return "never: REFRESH_TIME_MIN is 0";
  if (end === undefined) return "never: the token does not say when it began";
  if (due === undefined) return "never: it ends with its session";
  return now > due ? "due: the next request renews it" : `from ${told(due)} on, if it is sent`;
}

function clock(name, left, span, note) {
  const shown = left === undefined ? "–" : clockText(Math.max(0, left));
  put(`${name}-left`, shown);
  put(`${name}-note`, note);
  byId(`${name}-bar`).value = left === undefined ? 0 : share(left, span);
}

/** Whole seconds as 4:05 or 1:04:05, rounded up, so that zero is zero. */
function clockText(left) {
  const seconds = Math.ceil(left);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const pair = (number) => String(number).padStart(2, "0");
  const tail = pair(seconds % 60);
  return hours ? `${hours}:${pair(minutes)}:${tail}` : `${minutes}:${tail}`;
}

/** Show a span of time from its start to its end, where a part of it begins, and where now is. */
function bar(id, [start, part, end], now, texts) {
  const { style } = byId(id);
  // Percentages go to the style sheet by properties, which the page's policy allows a script to set.
  style.setProperty("--window", `${100 * share(part - start, end - start)}%`);
  style.setProperty("--now", `${100 * share(now - start, end - start)}%`);
  ends(id, ...texts);
}

/** What stands under the two ends of a bar. */
function ends(id, from, to) {
  put(`${id}-from`, from);
  put(`${id}-to`, to);
}

/** A part of a whole, from 0 to 1. */
function share(part, whole) {
  return Math.min(1, Math.max(0, part / (whole || 1)));
}

function put(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}
