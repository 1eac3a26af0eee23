// Requests to the server: JSON or bytes; a token is asked for once, where one is needed.

import { ask } from "/page/parts/dom.js";

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
  /** Whether it may go better later: the server is away, or its disk refuses. */
  get passes() {
    return this.status === 0 || this.status >= 500;
  }
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the server is away", 0);
  }
  if (response.ok) return response;
  let told = {};
  try {
    told = await response.json();
  } catch { /* no JSON: only the status tells */ }
  if (response.status === 401 && path !== "/api/login") {
    await login();
    return request(path, options);
  }
  throw new Refused(told.error || `the server answers ${response.status}`, response.status);
}

let asking = null;

/** One dialog for all requests that wait. */
function login() {
  asking ??= (async () => {
    let note = "Whoever started the server knows it.";
    for (;;) {
      const token = await ask("The token of this server", { type: "password", note });
      if (token === null) continue;
      try {
        await post("/api/login", { token });
        return;
      } catch (error) {
        note = error.message;
      }
    }
  })().finally(() => (asking = null));
  return asking;
}

export const get = async (path) => (await request(path)).json();

export const getBytes = async (path, signal) => (await request(path, { signal })).arrayBuffer();

export const post = async (path, value) => {
  const headers = { "content-type": "application/json" };
  return (await request(path, { method: "POST", headers, body: JSON.stringify(value) })).json();
};
