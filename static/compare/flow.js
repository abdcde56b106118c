// From one pair to the next: the answer goes to the outbox, a pair fetched ahead is painted at once, undo brings one back.

import * as drafts from "./drafts.js";
import { extend } from "./lease.js";
import { complete } from "./panels.js";
import { address, compare, field, follow, shown, stopClock, verdictOf } from "./pair.js";
import { beacon, listen, request, send, settled, unsent } from "./sending.js";
import { link, notice, say, several, speak } from "./words.js";

// The server lets a person hold three pairs: the one before them, those fetched ahead, and those whose answer is on its way.
const MOST_HELD = 3;
// Nobody reads a pair in so short a time: a second Enter that comes with the first is not an answer.
const TOO_SOON_MS = 400;

// Pairs to come, as the forms they will be. One that was seen before (an undo put it aside) is marked.
const shelf = [];
const seen = new WeakSet();
// Addresses that were answered here. The server may not know yet, and offer such a pair again.
const given = new Set();
// The request for one more pair that is under way, if any.
let asking = null;
let dry = false;
let last = "";
let shownAt = performance.now();
let touched = false;
let undoing = false;

const waiting = document.getElementById("waiting");
const onward = document.getElementById("next");
const undoForm = document.getElementById("undo");
const holds = (url) => given.has(url) || shelf.some((form) => address(form) === url) || (compare() && address(compare()) === url);
const parse = (html) => new DOMParser().parseFromString(html, "text/html");
// Whoever leaves first decides where to: a second way out would start what the first has ended.
let gone = false;
const leaveFor = (away) => {
  if (gone) return;
  gone = true;
  drafts.drop();
  away();
};
const next = () => leaveFor(() => onward.submit());

// Progress: the server counts with each page; between pages it goes on by ones.
const progress = (change) => {
  const place = document.getElementById("progress");
  const number = Math.min(Number(place.dataset.number) + change, Number(place.dataset.total));
  place.dataset.number = String(number);
  place.querySelector(".number").textContent = String(number);
  place.querySelector("progress").value = number - 1;
};
const where = () => {
  const { number, total } = document.getElementById("progress").dataset;
  return `Pair ${number} of ${total}.`;
};

const paint = (form, { step = 0, push = true } = {}) => {
  waiting.hidden = true;
  const old = compare();
  if (old) old.replaceWith(form);
  else waiting.before(form);
  if (push) history.pushState(null, "", address(form));
  if (step) progress(step);
  scrollTo(0, 0);
  for (const place of form.querySelectorAll(".side, .compare-text")) place.scrollTop = 0;
  notice("said");
  shownAt = performance.now();
  touched = false;
  shown();
  document.getElementById("pair").focus({ preventScroll: true });
};

const wait = () => {
  compare()?.remove();
  waiting.hidden = false;
  waiting.querySelector("p").textContent = "The next pair is on its way.";
  waiting.focus();
};
setInterval(() => {
  if (waiting.hidden) return;
  const words = unsent() ? `The next pair comes once ${several(unsent(), "answer is", "answers are")} saved.` : "The next pair is on its way.";
  const place = waiting.querySelector("p");
  if (place.textContent !== words) place.textContent = words;
}, 1_000);

const fetchAhead = async (beside) => {
  const { kind, response } = await request(`${beside}ahead/`, new URLSearchParams());
  return { kind, form: kind === "done" && response.status === 200 ? parse(await response.text()).getElementById("compare") : null };
};

// One more pair for the shelf, as long as the server gives out more.
export const topUp = async () => {
  if (asking || dry || gone || undoing || document.visibilityState === "hidden") return;
  const current = compare();
  if (current && (current.hasAttribute("data-foreground") || current.dataset.state === "closed")) return;
  if (shelf.length + unsent() + (current ? 1 : 0) >= MOST_HELD) return;
  const beside = shelf.length ? address(shelf.at(-1)) : current ? address(current) : last;
  asking = fetchAhead(beside);
  const { kind, form } = await asking;
  asking = null;
  if (form && !holds(address(form))) {
    shelf.push(document.adoptNode(form));
    if (!compare()) advance();
    else void topUp();
  } else if (kind === "lost" || kind === "signed-out") {
    setTimeout(() => void topUp(), 2_000);
  } else if (!compare() && unsent() === 0) {
    // Nothing was given out: the server knows where to go from here.
    next();
  } else {
    // Nothing more until an answer was saved.
    dry = true;
  }
};

const advance = () => {
  const form = shelf.shift();
  if (!form) {
    wait();
    void topUp();
    return;
  }
  paint(form, { step: 1 });
  seen.add(form);
  void announceShown(form);
};

// The pair came on screen: its lease starts now. One that is not ours any more gives way to what the server hands out.
const announceShown = async (form) => {
  const kind = await extend({ shown: true });
  if (form !== compare()) return;
  if (kind === "lost" || kind === "signed-out") setTimeout(() => { if (form === compare()) void announceShown(form); }, 3_000);
  else if (kind === "refused" && !touched && unsent() === 0) next();
  else void topUp();
};

listen({
  saved: async (entry, response) => {
    dry = false;
    if (response.headers.get("X-Rounds-State") === "surplus") say("An answer came after its place was taken or the campaign had closed: it is kept, and not counted.");
    const onto = response.headers.get("X-Rounds-Next");
    if (onto && unsent() === 0) {
      if (!compare() || !touched) {
        leaveFor(() => location.assign(onto));
        return;
      }
      say("Your session is over. Finish this pair, or ", link(onto, "see what came of it"), ".");
    } else speak(compare() ? `Saved. ${where()}` : "Saved.");
    void topUp();
  },
  refused: async (entry, response) => {
    dry = false;
    let problem = {};
    try {
      problem = await response.json();
    } catch {
      // A page instead of a problem document says no more than its status.
    }
    const detail = problem.detail ?? (response.status === 404 ? "It is not yours any more." : `The server refused it (${response.status}).`);
    // What was typed goes into the draft, so that the pair opens with it.
    if (response.status === 422 && problem.code !== "idempotency.mismatch") await drafts.keep(entry.form);
    notice("refused", "An answer was not saved: ", `${detail} `, link(problem.address ?? entry.url, "Open that pair"));
    void topUp();
  },
});

export const submit = async () => {
  const form = compare();
  if (!form || undoing) return;
  if (form.hasAttribute("data-feedback")) return next();
  if (!touched && performance.now() - shownAt < TOO_SOON_MS) return;
  if (!verdictOf(form)) {
    say("Choose a verdict first: 1 2 3 4 5 or 0, or S if you cannot judge.");
    return;
  }
  if (!complete(form)) return;
  stopClock(form);
  if (form.hasAttribute("data-foreground") || !["open", "late"].includes(form.dataset.state)) {
    // Answered in plain sight: the next page depends on it. First a sign of life, so that a lost session loses nothing.
    const kind = await drafts.keep(form);
    if (kind === "lost") say("The server cannot be reached: your answer is not saved. Your choice is kept; press Enter to send it again.");
    if (kind === "done" || kind === "refused") HTMLFormElement.prototype.submit.call(form);
    return;
  }
  drafts.drop();
  last = address(form);
  given.add(last);
  document.querySelector(".verdict-undo").disabled = false;
  const body = new URLSearchParams(new FormData(form));
  advance();
  // An answer must not overtake the request for the next pair, nor one that has just gone out for want of a pair on the shelf: the
  // server would think that there is none in hand, lease another, and send the reader to it by a page of its own.
  send({ url: last, body, form, after: asking });
};

export const undo = async () => {
  if (undoing || document.querySelector(".verdict-undo")?.disabled) return;
  undoing = true;
  try {
    if (!(await settled(5_000))) {
      say("Your last answer is not saved yet; it can be taken back once it is.");
      return;
    }
    // A pair that is just coming in would be given back while it is put on the shelf, and be nobody's when it is shown.
    if (asking) await asking;
    // Leases nobody looked at make room for the one that comes back.
    for (let place = shelf.length - 1; place >= 0; place -= 1) if (!seen.has(shelf[place])) shelf.splice(place, 1);
    await request(leaving(), new URLSearchParams());
    const { kind, response } = await request(undoForm.getAttribute("action"), new URLSearchParams(), { background: false });
    if (kind === "lost") return say("The server cannot be reached: nothing was taken back.");
    if (kind === "signed-out") return say("You were signed out: nothing was taken back. ", link("/accounts/login/", "Sign in in another tab", true), ", then press U again.");
    const page = parse(await response.text());
    const form = page.getElementById("compare");
    if (!form) {
      say(page.querySelector(".messages .notice, main .notice")?.textContent.trim() || "There is no answer to take back.");
      return;
    }
    const put = compare();
    if (put && address(put) !== address(form) && put.dataset.state !== "answered") {
      shelf.unshift(put);
      seen.add(put);
    }
    for (let place = shelf.length - 1; place >= 0; place -= 1) if (address(shelf[place]) === address(form)) shelf.splice(place, 1);
    dry = false;
    given.delete(address(form));
    document.getElementById("progress").replaceWith(document.adoptNode(page.getElementById("progress")));
    paint(document.adoptNode(form));
    speak(`Taken back. ${where()}`);
  } finally {
    undoing = false;
    void topUp();
  }
};

// Leaving: what was fetched ahead and never seen goes back to colleagues.
const leaving = () => undoForm.getAttribute("action").replace(/undo\/$/, "leave/");
addEventListener("pagehide", () => { if (shelf.length || asking) beacon(leaving()); });
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
// Going back shows a pair as the server knows it now.
addEventListener("popstate", () => { if (!compare() || location.pathname !== address(compare())) location.reload(); });

document.addEventListener("submit", (event) => {
  if (event.target.id === "compare") {
    event.preventDefault();
    void submit();
  } else if (event.target.id === "undo") {
    event.preventDefault();
    void undo();
  }
});
for (const kind of ["input", "change"]) document.addEventListener(kind, (event) => { if (event.target.form === compare()) touched = true; });
follow((form) => {
  // Without a field of its own the server could not tell a resend from a second answer.
  if (form && !field(form, "key")) console.error("The form has no key.");
});
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") void topUp(); });
