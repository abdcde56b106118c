// Requests and what became of them; and the answers that are not saved yet. They are kept in this page's memory and nowhere else.

import { button, link, notice, several } from "./words.js";

// The cookie is fresher than the page after signing in again in another tab.
const token = () => /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? document.querySelector("meta[name=csrf-token]")?.content ?? "";

const TIMEOUT_MS = 15_000;
// A browser refuses to keep a larger request alive beyond its page.
const KEEPALIVE_CHARACTERS = 60_000;

// `kind` is "done"; "refused" (an answer that will not change by asking again); "signed-out"; or "lost" (no answer: ask again).
export const request = async (url, body = null, { background = true, method = "POST" } = {}) => {
  const headers = { "X-CSRFToken": token() };
  if (background) headers["X-Rounds"] = "background";
  body?.set("csrfmiddlewaretoken", token());
  const options = { method, headers, body, signal: AbortSignal.timeout(TIMEOUT_MS) };
  if (method === "POST" && (body?.toString().length ?? 0) < KEEPALIVE_CHARACTERS) options.keepalive = true;
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    return { kind: "lost" };
  }
  const html = (response.headers.get("Content-Type") ?? "").startsWith("text/html");
  if (response.status === 401 || (response.status === 403 && html) || /\/accounts\/login\//.test(response.url)) return { kind: "signed-out" };
  if (response.status >= 500 || response.status === 408 || response.status === 429) return { kind: "lost" };
  return { kind: response.ok ? "done" : "refused", response };
};

// For a page that is being left: no answer can be heard any more.
export const beacon = (url, body = new URLSearchParams()) => {
  body.set("csrfmiddlewaretoken", token());
  return navigator.sendBeacon(url, body);
};

// The outbox: one answer at a time, in the order they were given, until the server has each of them.
const outbox = [];
const PATIENCE_MS = 1_500;
let running = false;
let signedOut = false;
let wake = () => {};
const rest = (ms) => new Promise((resolve) => { wake = resolve; setTimeout(resolve, ms); });
const heard = { saved: () => {}, refused: () => {} };

export const listen = (listeners) => Object.assign(heard, listeners);
export const unsent = () => outbox.length;

const showUnsent = () => {
  document.documentElement.dataset.unsent = String(outbox.length);
  const late = outbox.filter((one) => one.tries > 0 || performance.now() - one.since > PATIENCE_MS);
  if (late.length === 0) return notice("unsent");
  const count = `${several(outbox.length, "answer", "answers")} not saved yet. `;
  if (signedOut) notice("unsent", `${count}You were signed out. `, link("/accounts/login/", "Sign in in another tab", true), "; then they are sent by themselves.");
  else notice("unsent", `${count}The server cannot be reached; trying again. Keep this page open. `, button("Send now", () => wake()));
};
setInterval(() => { if (outbox.length) showUnsent(); }, 500);
showUnsent();

const drain = async () => {
  if (running) return;
  running = true;
  while (outbox.length) {
    const entry = outbox[0];
    await entry.after;
    const { kind, response } = await request(entry.url, entry.body);
    signedOut = kind === "signed-out";
    if (kind === "done" || kind === "refused") {
      outbox.shift();
      showUnsent();
      await (kind === "done" ? heard.saved : heard.refused)(entry, response);
    } else {
      entry.tries += 1;
      showUnsent();
      await rest(Math.min(1_000 * 2 ** Math.min(entry.tries - 1, 4), 15_000));
    }
  }
  showUnsent();
  running = false;
};

export const send = (entry) => {
  outbox.push({ ...entry, tries: 0, since: performance.now() });
  showUnsent();
  void drain();
};

// Resolves true once nothing is unsent, false if that takes longer than `ms`.
export const settled = async (ms) => {
  const until = performance.now() + ms;
  while ((outbox.length || running) && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
  return outbox.length === 0;
};

addEventListener("online", () => wake());
addEventListener("focus", () => wake());
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") wake(); });
addEventListener("beforeunload", (event) => { if (outbox.length) event.preventDefault(); });
