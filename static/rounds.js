// What every page shares. Every page works without it.
"use strict";

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";

// Light and dark: the switch shows itself only where it works.
const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
for (const button of document.querySelectorAll("[data-theme-switch]")) {
  button.hidden = false;
  button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("rounds-theme", next);
    } catch {
      // Holds for this page only.
    }
    button.setAttribute("aria-pressed", String(next === "dark"));
  });
}

// Menus close on Escape and on a click elsewhere.
const openMenus = () => document.querySelectorAll("details.menu[open]");
document.addEventListener("click", (event) => {
  for (const menu of openMenus()) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of openMenus()) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// <button class="copy" data-copy="…" hidden>: copies and says so.
const showCopyButtons = (root) => {
  if (navigator.clipboard) for (const button of root.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
};
showCopyButtons(document);
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  const was = button.textContent;
  button.textContent = "copied";
  setTimeout(() => { button.textContent = was; }, 1200);
});

// Signing out leaves nothing behind in this browser, also where it does not follow the Clear-Site-Data header.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-sign-out]")) return;
  try {
    localStorage.clear();
    sessionStorage.clear();
  } catch {
    // A browser that keeps nothing has nothing to forget.
  }
});
// htmx notes the address of every page; a browser in which nobody is signed in keeps not even that.
if (!document.querySelector("[data-sign-out]")) {
  addEventListener("load", () => {
    try {
      sessionStorage.clear();
    } catch {
      // As above.
    }
  });
}

// htmx: our CSRF token on requests that change something, and a sentence when a request fails.
const say = (text) => {
  const place = document.getElementById("live-message");
  if (place) {
    place.textContent = text;
    place.hidden = text === "";
  }
};
document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.verb !== "get") event.detail.headers["X-CSRFToken"] = meta("csrf-token");
});
document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) say(""); });
document.addEventListener("htmx:sendError", () => say("The server cannot be reached. What you see may be out of date; it updates itself once the server is back."));
document.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  say(status === 403 || status === 401
    ? "You are signed out or may not see this any more. Reload the page to sign in again."
    : `The server answered with an error (${status}). Nothing was changed by this page; reload it to try again.`);
});
document.addEventListener("htmx:load", (event) => showCopyButtons(event.detail.elt.parentNode ?? document));

// What a reader has unfolded stays so when a part of the page is drawn anew: the nth fold of the old part is the nth of the new.
const folds = (element) => [...element.querySelectorAll("details")];
let unfolded = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  const before = folds(event.detail.target);
  unfolded = before.some((fold) => fold.open) ? { id: event.detail.target.id, open: before.map((fold) => fold.open) } : null;
});
document.addEventListener("htmx:afterSettle", () => {
  const place = unfolded && document.getElementById(unfolded.id);
  const after = place ? folds(place) : [];
  if (after.length === unfolded?.open.length) after.forEach((fold, nth) => { if (unfolded.open[nth]) fold.open = true; });
  unfolded = null;
});
