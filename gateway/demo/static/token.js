/** A token as anybody can read it. Whether it is good, the gateway alone can tell. */

/**
 * @typedef {{parts: string[], header: object, claims: Record<string, any>}} Read
 */

/**
 * Split a token and read its header and claims.
 * @param {string} token
 * @returns {Read}
 * @throws {Error} it is not three parts, or they hold no JSON objects.
 */
export function read(token) {
  const parts = token.split(".");
  if (parts.length !== 3 || parts.includes("")) throw new Error("A token is three parts with a dot between them.");
  const [header, claims] = parts.slice(0, 2).map(object);
  return { parts, header, claims };
}

/**
 * The uid as it stands in a header.
 * @param {Read} token
 * @param {string} claim the claim that holds it
 */
export function uidOf(token, claim) {
  return text(token.claims[claim] ?? "");
}

/** A value as JSON, over several lines. */
export function pretty(value) {
  return JSON.stringify(value, null, 2);
}

/** A value as JSON, with a space wherever a line may break. */
export function onOneLine(value) {
  return pretty(value).replace(/\n\s*/g, " ");
}

/** @param {string} part */
function object(part) {
  let value;
  try {
    const binary = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes), exact);
  } catch {
    throw new Error("A part of the token is not JSON in base64url.");
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new Error("A part of the token is no JSON object.");
  }
  return value;
}

/** Keep a whole number that is too large for JavaScript as it is written, where the browser can. */
function exact(_name, value, context) {
  const large = Number.isInteger(value) && !Number.isSafeInteger(value);
  return large && context && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

/** A value as text: a string is itself, and nothing of an object is run to make one of it. */
export function text(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}
