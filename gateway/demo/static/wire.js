/** Requests: sent, and as a line to be run in a shell. */

/**
 * @typedef {{method: string, path: string, headers: [string, string][], body?: string, changed?: string}} Asked
 *   `changed` names the header that is other than it should be.
 * @typedef {{status: number, reason: string, headers: [string, string][], body: string, code?: string}} Answer
 *   with status 0 if there was none, and then the reason is why.
 */

const ROOT = new URL(".", document.baseURI);

/** The address of a path of this server. */
export function addressOf(path) {
  return new URL(`.${path}`, ROOT);
}

/**
 * Send a request; nothing of it is kept by the browser.
 * @param {Asked} asked
 * @param {Record<string, string>} reasons phrases by status, for a connection on which none is sent
 * @returns {Promise<Answer>}
 */
export async function send({ method, path, headers, body }, reasons) {
  try {
    const options = { cache: "no-store", credentials: "omit", redirect: "error" };
    const answer = await fetch(addressOf(path), { method, headers: new Headers(headers), body, ...options });
    const read = await answer.text();
    const reason = answer.statusText || (reasons[answer.status] ?? "");
    return { status: answer.status, reason, headers: [...answer.headers], body: read, code: codeIn(read) };
  } catch {
    return { status: 0, reason: sendable(headers) ? "No answer" : "Not sent", headers: [], body: "" };
  }
}

/** Whether HTTP has room for these values: a browser's headers take more control characters than RFC 9110 does. */
export function sendable(headers) {
  try {
    return Boolean(new Headers(headers)) && !headers.some(([, value]) => /\p{Cc}/u.test(value));
  } catch {
    return false;
  }
}

/** What a body says, if it is a JSON object; an empty one else. */
export function objectIn(body) {
  try {
    const value = JSON.parse(body);
    return value !== null && typeof value === "object" ? value : {};
  } catch {
    return {};
  }
}

/** The value of an answer's header. */
export function headerOf(answer, name) {
  return answer.headers.find(([other]) => other === name.toLowerCase())?.[1];
}

/** The request as a command: each word quoted, so that a shell, be it fish, reads nothing into it. */
export function curlOf({ method, path, headers, body }) {
  const words = ["curl -i"];
  if (method !== "GET") words.push(`-X ${method}`);
  words.push(quoted(addressOf(path).href));
  for (const [name, value] of headers) words.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== undefined) words.push(`--data-raw ${quoted(body)}`);
  return words.join(" \\\n  ");
}

/** Backslashes go out of the quotes as well: within them fish takes one before a quote as part of the text. */
function quoted(word) {
  return `'${word.replace(/['\\]/g, "'\\$&'")}'`;
}

function codeIn(body) {
  const { code } = objectIn(body);
  return typeof code === "string" ? code : undefined;
}
