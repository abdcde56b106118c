// Which key does what. The table comes with the page, as the person has set it; switched off, only what has the focus answers.

import * as lease from "./lease.js";
import { closeMark, mark } from "./marks.js";
import * as panels from "./panels.js";
import { changed, compare, follow } from "./pair.js";
import { find, go, letGo, sync } from "./reading.js";
import { submit, undo } from "./flow.js";
import { say } from "./words.js";

const table = JSON.parse(document.getElementById("keys")?.textContent ?? "{}");
const on = !document.body.classList.contains("keys-off");

// "a" for A, "Shift+A" with Shift; a sign is what it is, however a keyboard comes by it.
const name = (key, shift) => (/^\p{L}$/u.test(key) ? (shift ? `Shift+${key.toUpperCase()}` : key.toLowerCase()) : key);
const actions = new Map(Object.entries(table).map(([action, key]) => [key.length === 1 ? key.toLowerCase() : key, action]));

const choose = (verdict) => {
  const radio = compare().querySelector(`input[name=verdict][data-action="${verdict}"]`);
  if (!radio) return;
  say();
  radio.checked = true;
  radio.focus({ preventScroll: true });
  changed(radio);
};

const DO = {
  submit: () => void submit(),
  undo: () => void undo(),
  reasons: panels.reasons,
  cannot: panels.cannot,
  harm_a: () => panels.flag("a"),
  harm_b: () => panels.flag("b"),
  diff: () => void panels.differences(),
  sync,
  find,
  edit: panels.edit,
  next_sentence: () => go(1),
  previous_sentence: () => go(-1),
  mark,
  help: panels.help,
  extend: () => void lease.extend(),
};
const HELD = ["next_sentence", "previous_sentence"];
// Where Enter means something of its own.
const ENTERED = "button, a, summary, textarea, input:not([type=radio], [type=checkbox])";
const TYPED = "textarea, input:not([type=radio], [type=checkbox]), select";

const escape = () => closeMark() || panels.leave() || letGo();

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.altKey || event.isComposing || document.getElementById("guideline")?.open || !compare()) return;
  const { target } = event;
  if (event.key === "Escape") {
    if (escape()) event.preventDefault();
    return;
  }
  const inPanel = target.closest("#more-panel");
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && inPanel) {
    event.preventDefault();
    panels.leave();
    return;
  }
  if (event.ctrlKey || event.metaKey) return;
  // Digits belong to the group that has the focus, also with single keys switched off: that is no key of the page.
  const group = target.closest("[data-digits]");
  if (group && /^\d$/.test(event.key) && !target.matches("textarea")) {
    event.preventDefault();
    if (!event.repeat) panels.digit(group, event.key);
    return;
  }
  if (inPanel && event.key === "Enter" && !target.matches(`${ENTERED}, select`)) {
    event.preventDefault();
    if (!event.repeat) panels.leave();
    return;
  }
  const action = actions.get(name(event.key, event.shiftKey));
  if (!on || !action) return;
  if (action === "submit" ? target.closest(ENTERED) : target.closest(TYPED)) return;
  if (event.repeat && !HELD.includes(action)) {
    if (action === "submit") event.preventDefault();
    return;
  }
  event.preventDefault();
    if (action in DO) DO[action]();
  else choose(action);
});

document.addEventListener("click", (event) => {
  if (event.target.closest?.("#sync")) sync();
});

const written = (key) => ({ Enter: "↵" })[key] ?? key.replace(/^Shift\+/, "⇧").replace(/^\p{L}$/u, (letter) => letter.toUpperCase());
follow(() => {
  for (const place of document.querySelectorAll("[data-key-of]")) {
    const key = table[place.dataset.keyOf];
    if (key) place.textContent = written(key);
  }
});
