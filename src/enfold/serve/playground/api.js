// Requests to the server that the page comes from, and what may go wrong with them.

import { key } from "./preferences.js";

/**
 * What the page says where an answer would be.
 * `kind` is "network", "key" (401), "busy" (429), "loading" (503 of models that load) or "server"; `message` is what
 * the server says, `wait` the seconds after which it wants to be asked again.
 */
export class Refusal extends Error {
  constructor(kind, message = "", { status = 0, wait = null } = {}) {
    super(message);
    Object.assign(this, { kind, status, wait });
  }
}

/** An address of this server, also behind a proxy that gives it a path. */
export const address = (path) => new URL(path.replace(/^\//, ""), document.baseURI.split(/[?#]/)[0]).href;

function headers(more) {
  const known = key();
  return { ...more, ...(known ? { Authorization: `Bearer ${known}` } : {}) };
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(address(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("network");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const text = await response.text().catch(() => "");
  let message = text.slice(0, 500);
  let code = "";
  try {
    const body = JSON.parse(text);
    message = said(body) ?? message;
    code = body.error?.code ?? body.error_type ?? body.code ?? "";
  } catch {
    // a proxy's page, perhaps: its beginning is shown
  }
  const kind = { 401: "key", 429: "busy" }[response.status] ?? (code === "loading" ? "loading" : "server");
  const wait = Number(response.headers.get("Retry-After")) || null;
  return new Refusal(kind, message || response.statusText, { status: response.status, wait });
}

/** What an error says, in the shape of any of the server's interfaces. */
function said(body) {
  return [body?.error?.message, body?.error, body?.message].find((each) => typeof each === "string");
}

async function json(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("network");
  }
}

/** The models, as GET /v1/models tells of them. */
export async function models() {
  return (await json(await ask("/v1/models", { headers: headers({}) }))).data;
}

/** Why models could not be loaded, by name. */
export async function failures() {
  try {
    const response = await fetch(address("/ready"));
    return (await response.json()).errors ?? {};
  } catch {
    return {};
  }
}

const post = (path, body, signal) =>
  ask(path, {
    method: "POST",
    headers: headers({ "Content-Type": "application/json" }),
    body: JSON.stringify(body),
    signal,
  });

/** The answer to a request. */
export async function answer({ path, body }, signal) {
  return json(await post(path, body, signal));
}

/** The values of a stream of server-sent events, as they come. */
export async function* events({ path, body }, signal) {
  const response = await post(path, body, signal);
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let held = "";
  try {
    for (;;) {
      let part;
      try {
        part = await reader.read();
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Refusal("network");
      }
      held += decoder.decode(part.value, { stream: !part.done });
      const lines = held.split("\n\n");
      held = lines.pop();
      for (const line of lines) {
        const data = line.replace(/^data: /, "");
        if (data === "[DONE]") return;
        const value = JSON.parse(data);
        if (value.error) throw new Refusal("server", said(value) ?? "");
        yield value;
      }
      if (part.done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
