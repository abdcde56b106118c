// What opens beside the verdict: reasons, safety, words, the edit, the differences, the guideline. All of it are fields of the form.

import { address, betterSide, changed, compare, field, follow, verdictOf } from "./pair.js";
import { request } from "./sending.js";
import { storedText, textOf } from "./text.js";
import { link, say, speak } from "./words.js";

const MOST_REASONS = 3;
const CHANGES_MS = 400;
const more = () => document.getElementById("more");
const part = (id) => compare()?.querySelector(`#${id}`);
const checked = (form, name) => form.querySelector(`[name="${name}"]:checked`)?.value ?? "";

// Going into a part of the panel and coming back to where one was.
let home = null;
let opened = false;
const enter = (control) => {
  if (!control) return;
  const panel = more();
  if (!panel.contains(document.activeElement)) {
    home = document.activeElement;
    opened = !panel.open;
  }
  panel.open = true;
  control.focus();
};
export const leave = () => {
  const panel = more();
  if (!panel?.contains(document.activeElement)) return false;
  if (opened) panel.open = false;
  opened = false;
  (home?.isConnected && home !== document.body ? home : document.getElementById("pair")).focus({ preventScroll: true });
  return true;
};

export const reasons = () => enter(part("reasons")?.querySelector("input:checked") ?? part("reasons")?.querySelector("input"));
export const flag = (side) => enter(part(`flag-${side}`)?.querySelector("input:checked"));
const firstReason = (popover) => (popover.querySelector("input:checked") ?? popover.querySelector("input"))?.focus({ preventScroll: true });
export const cannot = () => {
  const popover = part("cannot");
  if (!popover) return;
  popover.togglePopover();
  // At once, not with the event that follows: the next digit is a reason.
  if (popover.matches(":popover-open")) firstReason(popover);
};

// A digit in a group: ticks a reason, sets a severity and goes on to its kind, picks a kind and leaves.
export const digit = (group, key) => {
  const select = document.activeElement.closest("select");
  const found = (select ?? group).querySelector(`[data-digit="${CSS.escape(key)}"]`);
  if (!found) return;
  if (select) {
    select.value = found.value;
    changed(select);
    leave();
  } else if (found.matches("button")) found.click();
  else {
    found.focus();
    found.checked = found.type === "checkbox" ? !found.checked : true;
    changed(found);
    if (!group.dataset.side) return;
    if (found.value) group.querySelector("select").focus();
    else leave();
  }
};

// The popover opens with its first reason in hand.
document.addEventListener("toggle", (event) => {
  if (event.target.id === "cannot" && event.newState === "open" && !event.target.contains(document.activeElement)) firstReason(event.target);
}, true);

// The edit
const shownText = (side) => {
  const place = compare().querySelector(`#side-${side} .side-text`);
  return storedText(textOf(place.querySelector(".prose")), JSON.parse(place.dataset.shifts || "[]"));
};
const editSide = (form) => checked(form, "edited_side");
const chooseSide = (form, side) => {
  const radio = form.querySelector(`[name=edited_side][value=${side}]`);
  if (radio) radio.checked = true;
};
let timer = 0;
const showChanges = async () => {
  const form = compare();
  const [edited, side] = [field(form, "edited").value, editSide(form)];
  const tracked = part("tracked");
  if (!edited || !side) {
    tracked.hidden = true;
    part("edit-count").textContent = "";
    return;
  }
  const { kind, response } = await request(address(form, "changes/"), new URLSearchParams({ edited, edited_side: side }));
  if (form !== compare() || field(form, "edited").value !== edited) return;
  if (kind !== "done") return;
  tracked.innerHTML = await response.text();
  tracked.hidden = false;
  part("edit-count").textContent = tracked.querySelector("[data-count]")?.textContent ?? "";
};
const soonChanges = () => {
  clearTimeout(timer);
  timer = setTimeout(() => void showChanges(), CHANGES_MS);
};
const fill = () => {
  const form = compare();
  const text = field(form, "edited");
  if (!text.value) {
    text.value = shownText(editSide(form));
    text.setSelectionRange(0, 0);
  }
};
export const edit = () => {
  const form = compare();
  if (!part("edit")) return;
  const side = betterSide(form) || editSide(form);
  if (!side && !verdictOf(form)) {
    say("Say which one is better first; then E edits it.");
    return;
  }
  say();
  if (!editSide(form)) chooseSide(form, side || "a");
  enter(part("edit").querySelector("summary"));
  part("edit").open = true;
  fill();
  field(form, "edited").focus({ preventScroll: true });
  part("edit").scrollIntoView({ block: "start" });
};
const cancelEdit = () => {
  const form = compare();
  field(form, "edited").value = "";
  for (const radio of form.querySelectorAll("[name=edited_side]")) radio.checked = false;
  part("edit").open = false;
  changed(field(form, "edited"));
  void showChanges();
  leave();
  speak("The edit is gone; the text is as it was.");
};
document.addEventListener("toggle", (event) => {
  if (event.target.id !== "edit" || !event.target.open) return;
  const form = compare();
  if (!editSide(form)) chooseSide(form, betterSide(form) || "a");
  fill();
}, true);
document.addEventListener("click", (event) => {
  const way = event.target.closest?.("[data-edit]")?.dataset.edit;
  if (way === "cancel") cancelEdit();
  else if (way === "keep") leave();
});
document.addEventListener("input", (event) => { if (event.target.name === "edited") soonChanges(); });

// The differences stand where A and B stood; the same key puts them back.
export const differences = async () => {
  const form = compare();
  const place = part("diff");
  if (!place.hidden) {
    place.hidden = true;
    part("sides").classList.remove("shows-diff");
    document.getElementById("diff-open")?.removeAttribute("data-on");
    document.getElementById("pair").focus({ preventScroll: true });
    speak("A and B as they are.");
    return;
  }
  if (!place.hasChildNodes()) {
    const { kind, response } = await request(address(form, "diff/"), null, { method: "GET" });
    if (form !== compare()) return;
    if (kind === "signed-out") return say("You were signed out. ", link("/accounts/login/", "Sign in in another tab", true), ", then press D again.");
    if (kind !== "done") return say("The differences cannot be had just now: the server did not answer.");
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    place.replaceChildren(...(page.querySelector("#differences") ?? page.body).childNodes);
  }
  place.hidden = false;
  part("sides").classList.add("shows-diff");
  document.getElementById("diff-open")?.setAttribute("data-on", "");
  place.focus({ preventScroll: true });
};

// The guideline and the keys
const guideline = document.getElementById("guideline");
export const help = () => { if (!guideline.open) guideline.showModal(); };
guideline?.addEventListener("close", () => document.getElementById("pair")?.focus({ preventScroll: true }));

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest?.(".verdict-help")) {
    event.preventDefault();
    help();
  } else if (event.target.closest?.("#diff-open")) {
    event.preventDefault();
    void differences();
  }
});

// What is set shows where the panel is closed.
const wantsWords = (form) => {
  const when = form.dataset.rationaleWhen.split(" ");
  const verdict = verdictOf(form);
  if (!verdict || verdict.startsWith("cannot_judge")) return false;
  return when.includes("always") || (when.includes("both_unacceptable") && verdict === "both_unacceptable")
    || (when.includes("flag") && Boolean(checked(form, "harm_a") || checked(form, "harm_b"))) || (when.includes("much") && verdict.endsWith("_much"));
};
const show = (form) => {
  if (!more()) return;
  const set = form.querySelectorAll("[name=reasons]:checked").length + (checked(form, "harm_a") ? 1 : 0) + (checked(form, "harm_b") ? 1 : 0)
    + (checked(form, "hard") ? 1 : 0) + (field(form, "rationale").value.trim() ? 1 : 0) + (field(form, "edited").value ? 1 : 0) + (JSON.parse(field(form, "spans").value || "[]").length ? 1 : 0);
  const count = form.querySelector(".more-count");
  count.hidden = set === 0;
  count.textContent = `· ${set}`;
  form.querySelector(".needed").hidden = !wantsWords(form);
  for (const side of ["a", "b"]) {
    const badge = form.querySelector(`#side-${side} .side-flag`);
    const level = form.querySelector(`[name=harm_${side}]:checked`);
    badge.hidden = !level?.value;
    badge.textContent = level?.value ? `${level.parentElement.textContent.replace(/^\d+/, "").trim()} harm` : "";
  }
};

document.addEventListener("change", (event) => {
  const form = compare();
  if (event.target.form !== form || !form) return;
  const { name } = event.target;
  if (name === "verdict") say();
  if (name === "reasons" && form.querySelectorAll("[name=reasons]:checked").length > MOST_REASONS) {
    event.target.checked = false;
    say("Three reasons at most: the ones that decided it. Take one back first.");
  }
  if (/^harm_.$/.test(name) && !event.target.value) field(form, `${name}_type`).value = "";
  if (/^harm_._type$/.test(name) && event.target.value && !checked(form, name.slice(0, 6))) say("Say how severe the harm could be, too: a kind alone is no flag.");
  if (name === "edited_side") {
    const text = field(form, "edited");
    const other = event.target.value === "a" ? "b" : "a";
    if (text.value === shownText(other)) text.value = shownText(event.target.value);
    soonChanges();
  }
  show(form);
});
document.addEventListener("input", () => { if (compare()) show(compare()); });

// Whether the answer has what its campaign asks for; says what is missing and goes there.
export const complete = (form) => {
  if (!more()) return true;
  const missing = (control, ...words) => {
    enter(control);
    say(...words);
    return false;
  };
  const text = field(form, "edited");
  const side = editSide(form);
  if (text.value && side && text.value === shownText(side)) text.value = "";
  const better = betterSide(form);
  if (text.value && !side) return missing(form.querySelector("[name=edited_side]"), "Say which side you edited.");
  if (text.value && better && side !== better) return missing(text, `Your edit is of ${side.toUpperCase()}, but ${better.toUpperCase()} is the better one now. Edit that one, or cancel the edit.`);
  if (wantsWords(form) && !field(form, "rationale").value.trim()) return missing(field(form, "rationale"), "This campaign asks for a few words here. Esc leaves the field, then Enter sends.");
  for (const one of ["a", "b"]) {
    if (field(form, `harm_${one}_type`).value && !checked(form, `harm_${one}`)) return missing(part(`flag-${one}`).querySelector("input"), `Say how severe the harm in ${one.toUpperCase()} could be, or take its kind back.`);
  }
  if (verdictOf(form).startsWith("cannot_judge")) return true;
  for (const axis of form.querySelectorAll(".axis")) {
    const controls = [...axis.querySelectorAll("input")];
    const names = [...new Set(controls.map(({ name }) => name))];
    const given = names.filter((name) => (axis.dataset.scale === "count" ? field(form, name).value : checked(form, name)) !== "");
    const label = axis.querySelector("legend").firstChild.textContent.trim();
    const first = controls.find(({ name }) => !given.includes(name));
    if (axis.hasAttribute("data-required") && given.length < names.length) return missing(first, `“${label}” is asked for in this campaign.`);
    if (given.length > 0 && given.length < names.length) return missing(first, `“${label}” takes a value for each side, or none for both.`);
  }
  return true;
};

follow((form) => {
  home = null;
  opened = false;
  const diff = document.getElementById("diff-open");
  if (diff) {
    diff.href = `${address(form, "diff/")}?full=1`;
    diff.toggleAttribute("data-on", !part("diff").hidden);
  }
  if (!form.querySelector(".verdict-bar")) return;
  form.querySelector(".edit-buttons").hidden = false;
  // Marking has keys and the mouse here; quoting is the way without scripts.
  const quotes = form.querySelector("#quotes");
  if (quotes && ![...quotes.querySelectorAll("input")].some(({ value }) => value)) quotes.hidden = true;
  if (field(form, "edited").value) soonChanges();
  show(form);
});
