// Reading: find in the input, walk through the sentences of A and B, scroll both together.

import { compare, follow } from "./pair.js";
import { lay, sentences, textOf } from "./text.js";
import { speak } from "./words.js";

const MOST_PLACES = 500;
const inputs = () => [...compare().querySelectorAll(".compare-text .prose")];
const proseOf = (side) => compare().querySelector(`#side-${side} .prose`);

// Find
let places = [];
let nth = -1;

const folded = (text) => text.toLowerCase();
const search = () => {
  const box = document.getElementById("find");
  const wanted = folded(box.value.trim());
  places = [];
  for (const prose of inputs()) {
    const text = folded(textOf(prose));
    // A letter that grows when folded (İ) would shift every place after it.
    if (wanted && text.length === textOf(prose).length) {
      for (let at = text.indexOf(wanted); at >= 0 && places.length < MOST_PLACES; at = text.indexOf(wanted, at + wanted.length)) places.push({ prose, start: at, end: at + wanted.length });
    }
  }
  nth = places.length ? 0 : -1;
  showPlaces();
};
const showPlaces = () => {
  for (const prose of inputs()) lay(prose, "found", places.filter((one) => one.prose === prose).map(({ start, end }) => ({ start, end, name: places[nth]?.prose === prose && places[nth].start === start ? "found-now" : "found" })));
  const box = document.getElementById("find");
  document.getElementById("found").textContent = box.value.trim() ? (places.length ? `${nth + 1} of ${places.length}${places.length === MOST_PLACES ? "+" : ""}` : "nothing") : "";
  compare().querySelector(".is-found-now")?.scrollIntoView({ block: "center" });
};
const step = (by) => {
  if (places.length === 0) return;
  nth = (nth + by + places.length) % places.length;
  showPlaces();
};

export const find = () => {
  compare().querySelector(".compare-input").open = true;
  const box = document.getElementById("find");
  box.focus();
  box.select();
};

document.addEventListener("input", (event) => { if (event.target.id === "find") search(); });
document.addEventListener("keydown", (event) => {
  if (event.target.id !== "find") return;
  if (event.key === "Enter") {
    event.preventDefault();
    step(event.shiftKey ? -1 : 1);
  } else if (event.key === "Escape") {
    event.preventDefault();
    event.stopPropagation();
    event.target.value = "";
    search();
    compare().querySelector(".compare-text").focus();
  }
}, true);
document.addEventListener("click", (event) => {
  const one = event.target.closest?.("[data-find]");
  if (one) step(Number(one.dataset.find));
});

// The sentence in hand: one place in both outputs, A before B.
let walk = [];
let at = -1;
export const inHand = () => walk[at] ?? null;
const layWalk = () => {
  for (const side of ["a", "b"]) lay(proseOf(side), "sentence", inHand()?.side === side ? [{ ...inHand(), name: "sentence" }] : []);
};
export const go = (by) => {
  if (walk.length === 0) walk = ["a", "b"].flatMap((side) => sentences(textOf(proseOf(side))).map((one, place, all) => ({ ...one, side, words: `Sentence ${place + 1} of ${all.length} in ${side.toUpperCase()}` })));
  if (walk.length === 0) return;
  at = at < 0 ? (by > 0 ? 0 : walk.length - 1) : Math.min(Math.max(at + by, 0), walk.length - 1);
  layWalk();
  compare().querySelector(".is-sentence")?.scrollIntoView({ block: "nearest" });
  const { side, start, end, words } = walk[at];
  speak(`${words}: ${textOf(proseOf(side)).slice(start, end)}`);
};
export const letGo = () => {
  if (at < 0) return false;
  at = -1;
  layWalk();
  return true;
};

// Scrolling together: as far down in the one as in the other. Only where they stand side by side.
const columns = matchMedia("(min-width: 900px)");
let together = true;
let leader = null;
let released = 0;
export const sync = () => {
  together = !together;
  document.getElementById("sync")?.setAttribute("aria-pressed", String(together));
  speak(together ? "A and B scroll together." : "A and B scroll apart.");
};
document.addEventListener("scroll", (event) => {
  const side = event.target;
  if (!together || !columns.matches || !side.classList?.contains("side")) return;
  const now = performance.now();
  // The one that follows scrolls too: it must not lead in turn.
  if (leader && leader !== side && now - released < 120) return;
  leader = side;
  released = now;
  const other = [...compare().querySelectorAll(".side")].find((one) => one !== side);
  const room = side.scrollHeight - side.clientHeight;
  if (other && room > 0) other.scrollTop = (side.scrollTop / room) * (other.scrollHeight - other.clientHeight);
}, { capture: true, passive: true });

follow((form) => {
  places = [];
  nth = at = -1;
  walk = [];
  leader = null;
  form.querySelector(".finder").hidden = false;
  const toggle = document.getElementById("sync");
  if (toggle) {
    toggle.hidden = false;
    toggle.setAttribute("aria-pressed", String(together));
  }
});
