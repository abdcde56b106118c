// The compare screen's keys, clock and manners. Without it the page is a form that works.
"use strict";

(() => {
  const IDLE_MS = 60_000;
  const compare = () => document.getElementById("compare");
  const guideline = document.getElementById("guideline");
  const message = document.getElementById("live-message");

  const say = (...parts) => {
    if (!message) return;
    message.replaceChildren(...parts);
    message.hidden = parts.length === 0;
  };
  const link = (href, text) => {
    const made = document.createElement("a");
    Object.assign(made, { href, textContent: text, target: "_blank", rel: "noopener" });
    return made;
  };

  // How long the pair was in view and in use; reading without moving counts for a minute.
  let spent = 0;
  let ticked = performance.now();
  let active = ticked;
  for (const kind of ["keydown", "pointermove", "pointerdown", "scroll", "wheel"]) {
    document.addEventListener(kind, () => { active = performance.now(); }, { capture: true, passive: true });
  }
  setInterval(() => {
    const now = performance.now();
    // A sleeping computer wakes with a long gap: that was no reading.
    if (document.visibilityState === "visible" && now - active < IDLE_MS && now - ticked < 5_000) spent += now - ticked;
    ticked = now;
  }, 500);
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "compare") return;
    event.target.elements.active_ms.value = String(Math.round(spent));
    if (!event.target.querySelector("input[name=verdict]:checked")) {
      event.preventDefault();
      event.stopImmediatePropagation();
      say("Choose a verdict first: 1 2 3 4 5 or 0, or S if you cannot judge.");
    }
  }, true);

  // Single keys can be switched off (WCAG 2.1.4); the choice is this browser's.
  const shortcuts = document.querySelector("[data-shortcuts]");
  let keysOn = true;
  try {
    keysOn = localStorage.getItem("rounds-keys") !== "off";
  } catch {
    // Private windows may refuse storage: then keys are on.
  }
  if (shortcuts) {
    shortcuts.checked = keysOn;
    shortcuts.addEventListener("change", () => {
      keysOn = shortcuts.checked;
      try {
        localStorage.setItem("rounds-keys", keysOn ? "on" : "off");
      } catch {
        // Holds for this page only.
      }
    });
  }

  const isOpen = (popover) => popover?.matches?.(":popover-open") ?? false;
  const choose = (radio) => {
    say();
    radio.checked = true;
    radio.focus();
  };

  document.addEventListener("click", (event) => {
    const help = event.target.closest?.(".verdict-help");
    if (help && guideline?.showModal && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      guideline.showModal();
    }
  });
  // The popover opens with its first reason in hand.
  document.addEventListener("toggle", (event) => {
    if (event.target.id === "cannot" && event.newState === "open") {
      (event.target.querySelector("input:checked") ?? event.target.querySelector("input"))?.focus();
    }
  }, true);

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || guideline?.open) return;
    const form = compare();
    if (!form || event.target.closest("input:not([type=radio]), textarea, select")) return;
    if (event.key === "Enter") {
      if (event.target.closest("button, a, summary")) return;
      event.preventDefault();
      if (!event.repeat) form.requestSubmit(form.querySelector(".verdict-submit"));
      return;
    }
    if (!keysOn || event.repeat) return;
    const key = event.key.toLowerCase();
    const popover = document.getElementById("cannot");
    const scope = isOpen(popover) && /^[0-9]$/.test(key) ? popover : form;
    const found = [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].find(
      (one) => (popover?.contains(one) ?? false) === (scope === popover),
    );
    if (!found || found.disabled) return;
    event.preventDefault();
    if (found.matches("input")) choose(found);
    else found.click();
  });

  // After signing in again in another tab the token in this page is old; the cookie has the new one.
  document.addEventListener("htmx:configRequest", (event) => {
    const fresh = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1];
    if (fresh && event.detail.verb !== "get") {
      event.detail.headers["X-CSRFToken"] = fresh;
      event.detail.parameters.csrfmiddlewaretoken = fresh;
    }
  });
  let signedOut = false;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr } = event.detail;
    if (/\/accounts\/login\//.test(xhr.responseURL ?? "")) {
      // Never a sign-in page in place of the pair: the choice stays where it is.
      event.detail.shouldSwap = false;
      signedOut = true;
    } else if (xhr.status === 409 || xhr.status === 422) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
  });
  document.addEventListener("htmx:afterRequest", () => {
    if (signedOut) say("You were signed out; your answer was not saved yet. ", link("/accounts/login/", "Sign in in another tab"), ", then press Enter here again: your choice is kept.");
    signedOut = false;
  });
  document.addEventListener("htmx:sendError", () => say("The server cannot be reached: your answer is not saved. Your choice is kept; press Enter to send it again."));
  document.addEventListener("htmx:responseError", (event) => {
    const { status } = event.detail.xhr;
    if (status >= 500) say("The server failed: your answer may not be saved. Press Enter to send it again; it counts once.");
    if (status === 404) say("This pair is not yours any more. ", link("/rate/", "Back to the queue"));
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (!event.detail.elt?.closest?.("#compare") && event.detail.target?.id !== "compare") return;
    spent = 0;
    ticked = active = performance.now();
    say();
    document.getElementById("pair")?.focus({ preventScroll: true });
  });
})();
