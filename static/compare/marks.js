// Error marks: a sentence or a selection, then its kind and its severity by digit. Kept in the form's field `spans`.

import { changed, compare, field, follow } from "./pair.js";
import { inHand } from "./reading.js";
import { lay, selected, textOf, toShown, toStored } from "./text.js";
import { say, speak } from "./words.js";

// Where something is missing there is nothing to mark: it is a place, after what was chosen.
const OMISSION = "omission";
const box = document.getElementById("mark");
const kinds = () => [...box.querySelectorAll("[data-mark-part=kind] button")];
const labelOf = (part, value) => box.querySelector(`[data-mark-part=${part}] button[value="${CSS.escape(value)}"] span`)?.textContent ?? value;

const sideText = (side) => compare().querySelector(`#side-${side} .side-text`);
const proseOf = (side) => sideText(side).querySelector(".prose");
const shiftsOf = (side) => JSON.parse(sideText(side).dataset.shifts || "[]");

const read = () => {
  try {
    return JSON.parse(field(compare(), "spans")?.value || "[]");
  } catch {
    return [];
  }
};
const write = (spans) => {
  const place = field(compare(), "spans");
  place.value = JSON.stringify(spans);
  show();
  changed(place);
};

const show = () => {
  const spans = read();
  for (const side of ["a", "b"]) {
    const text = textOf(proseOf(side));
    const list = compare().querySelector(`#side-${side} .marks`);
    const mine = spans.map((span, nth) => ({ ...span, nth })).filter((span) => span.side === side);
    const ranges = mine.map(({ start, end, nth }) => ({ start: toShown(text, shiftsOf(side), start), end: toShown(text, shiftsOf(side), end), name: "span", label: String(nth + 1) }));
    lay(proseOf(side), "spans", ranges);
    list.hidden = mine.length === 0;
    list.replaceChildren(...mine.map(({ kind, severity, nth }, place) => {
      const { start, end } = ranges[place];
      const quote = start === end ? "" : ` “${text.slice(start, end).trim().slice(0, 60)}${end - start > 60 ? "…" : ""}”`;
      const words = `${labelOf("kind", kind)}, ${labelOf("severity", severity).toLowerCase()}`;
      const item = document.createElement("li");
      const remove = Object.assign(document.createElement("button"), { type: "button", className: "mark-item" });
      remove.dataset.remove = String(nth);
      remove.setAttribute("aria-label", `Remove mark ${nth + 1}: ${words}${quote}`);
      const name = Object.assign(document.createElement("strong"), { textContent: `${nth + 1} ${words}` });
      const cross = Object.assign(document.createElement("span"), { className: "mark-cross", textContent: "✕" });
      const said = document.createElement("span");
      said.append(name, quote);
      remove.append(said, cross);
      item.append(remove);
      return item;
    }));
  }
};

let target = null;
let kind = "";
let home = null;
const part = (name) => box.querySelector(`[data-mark-part=${name}]`);

export const mark = () => {
  if (!compare()?.querySelector(".verdict-bar") || kinds().length === 0) return;
  target = null;
  for (const side of ["a", "b"]) {
    const range = selected(proseOf(side));
    if (range) target = { side, ...range };
  }
  target ??= inHand();
  if (!target) {
    say("Choose what is wrong first: a sentence with J and K, or words with the mouse; then M.");
    return;
  }
  say();
  home = document.activeElement;
  const quote = textOf(proseOf(target.side)).slice(target.start, target.end);
  box.querySelector(".mark-quote").textContent = `${target.side.toUpperCase()}: “${quote.slice(0, 160)}${quote.length > 160 ? "…" : ""}”`;
  part("kind").hidden = false;
  part("severity").hidden = true;
  box.showPopover();
  kinds()[0].focus();
};

export const closeMark = () => {
  if (!box.matches(":popover-open")) return false;
  box.hidePopover();
  (home?.isConnected ? home : document.getElementById("pair"))?.focus({ preventScroll: true });
  return true;
};

const add = (severity) => {
  const { side, start, end } = target;
  const text = textOf(proseOf(side));
  const from = kind === OMISSION ? end : start;
  const span = { side, start: toStored(text, shiftsOf(side), from), end: toStored(text, shiftsOf(side), end), kind, severity };
  getSelection().removeAllRanges();
  closeMark();
  write([...read(), span]);
  speak(`Marked in ${side.toUpperCase()}: ${labelOf("kind", kind)}, ${labelOf("severity", severity)}.`);
};

const remove = (nth) => {
  const side = read()[nth]?.side ?? "a";
  write(read().filter((_, place) => place !== nth));
  const left = compare().querySelectorAll(`#side-${side} .mark-item`);
  (left[0] ?? document.getElementById(`side-${side}`)).focus({ preventScroll: true });
  speak("Mark removed.");
};

document.addEventListener("click", (event) => {
  const choice = event.target.closest?.(".mark-choice");
  if (choice?.closest("[data-mark-part=kind]")) {
    kind = choice.value;
    part("kind").hidden = true;
    part("severity").hidden = false;
    part("severity").querySelector("button").focus();
  } else if (choice) add(choice.value);
  else if (event.target.closest?.("[data-mark-cancel]")) closeMark();
  else if (event.target.closest?.("[data-mark]")) mark();
  else {
    const item = event.target.closest?.("[data-remove]");
    if (item) remove(Number(item.dataset.remove));
  }
});
// The button must not take the selection it is about.
document.addEventListener("mousedown", (event) => { if (event.target.closest?.("[data-mark]")) event.preventDefault(); });
document.addEventListener("keydown", (event) => {
  const item = event.target.closest?.("[data-remove]");
  if (item && (event.key === "Delete" || event.key === "Backspace")) {
    event.preventDefault();
    remove(Number(item.dataset.remove));
  }
});

follow((form) => {
  for (const one of form.querySelectorAll("[data-mark]")) one.hidden = kinds().length === 0 || !form.querySelector(".verdict-bar");
  show();
});
