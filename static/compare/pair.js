// The pair on the screen: its form, its addresses, and how long it was read.

export const compare = () => document.getElementById("compare");
export const address = (form, part = "") => form.getAttribute("action") + part;
export const field = (form, name) => form?.elements.namedItem(name);
export const verdictOf = (form) => form.querySelector("input[name=verdict]:checked")?.value ?? "";
export const betterSide = (form) => /^([ab])_/.exec(verdictOf(form))?.[1] ?? "";

// A choice made by key is a change like one made by hand: drafts and counts hear of it.
export const changed = (control) => control.dispatchEvent(new Event("change", { bubbles: true }));

// Everything that follows the pair on the screen asks to hear of the next one; the first is shown when the page is.
const followers = [];
export const follow = (tell) => followers.push(tell);
export const shown = () => followers.forEach((tell) => tell(compare()));

// Milliseconds in view and in use, kept by form: a pair put aside by an undo goes on where it was. Reading without moving counts for a minute.
const IDLE_MS = 60_000;
const spent = new WeakMap();
let ticked = performance.now();
let active = ticked;
for (const kind of ["keydown", "pointermove", "pointerdown", "scroll", "wheel"]) {
  document.addEventListener(kind, () => { active = performance.now(); }, { capture: true, passive: true });
}
const tick = () => {
  const now = performance.now();
  const form = compare();
  // A sleeping computer wakes with a long gap: that was no reading.
  if (form && document.visibilityState === "visible" && now - active < IDLE_MS && now - ticked < 5_000) spent.set(form, (spent.get(form) ?? 0) + now - ticked);
  ticked = now;
};
setInterval(tick, 500);
follow(() => { ticked = active = performance.now(); });
export const stopClock = (form) => {
  tick();
  const place = field(form, "active_ms");
  if (place) place.value = String(Math.round(spent.get(form) ?? 0));
};
