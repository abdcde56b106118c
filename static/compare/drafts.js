// Drafts: what is under way is kept by the server, a moment after each change and on leaving; never by the browser.

import { address, compare, field, follow, stopClock } from "./pair.js";
import { beacon, request } from "./sending.js";
import { link, say } from "./words.js";

const QUIET_MS = 600;
const AGAIN_MS = 5_000;
let dirty = false;
let timer = 0;

const show = (words) => {
  const place = document.getElementById("saved");
  if (place) place.textContent = words;
};

const bodyOf = (form) => {
  stopClock(form);
  const number = field(form, "draft_number");
  if (number) number.value = String(Number(number.value || 0) + 1);
  return new URLSearchParams(new FormData(form));
};

// Answers what became of it: "done", "refused", "signed-out" or "lost".
export const keep = async (form = compare()) => {
  clearTimeout(timer);
  dirty = false;
  const { kind, response } = await request(address(form, "draft/"), bodyOf(form));
  if (form !== compare()) return kind;
  if (kind === "done") show(`Kept ${new Date().toLocaleTimeString([], { hour12: false })}`);
  else if (kind === "refused") show(response.status === 409 ? "Answered elsewhere" : "Draft not kept");
  else {
    dirty = true;
    show("Draft not kept yet");
    if (kind === "signed-out") say("You were signed out. Nothing is lost: ", link("/accounts/login/", "sign in in another tab", true), ", then go on here.");
    timer = setTimeout(() => { if (dirty && compare()) void keep(); }, AGAIN_MS);
  }
  return kind;
};

// The answer itself is on its way: a draft must not follow it.
export const drop = () => {
  clearTimeout(timer);
  dirty = false;
};

const later = (event) => {
  const form = event.target.form;
  if (form !== compare() || !event.target.name || form.hasAttribute("data-feedback") || form.dataset.state === "closed") return;
  dirty = true;
  clearTimeout(timer);
  timer = setTimeout(() => void keep(), QUIET_MS);
};
document.addEventListener("input", later);
document.addEventListener("change", later);

const leave = () => {
  const form = compare();
  if (!dirty || !form) return;
  drop();
  beacon(address(form, "draft/"), bodyOf(form));
};
addEventListener("pagehide", leave);
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") leave(); });
let first = true;
follow(() => {
  drop();
  // What the page itself says of a draft it came with stands.
  if (!first) show("");
  first = false;
});
