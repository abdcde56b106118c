// How long the pair is this person's: a warning well before the end, and more time by one key (WCAG 2.2.1).

import { address, compare, follow } from "./pair.js";
import { request } from "./sending.js";
import { button, notice, say, speak } from "./words.js";

const WARN_AT_S = [120, 60, 25];
let until = null;
let warned = WARN_AT_S.length;

export const starts = (seconds) => {
  until = Number.isFinite(seconds) ? performance.now() + seconds * 1000 : null;
  warned = WARN_AT_S.length;
  notice("lease");
};

const words = (seconds) => (seconds > 90 ? `about ${Math.round(seconds / 60)} minutes` : `${Math.max(1, Math.round(seconds))} seconds`);

export const extend = async ({ shown = false } = {}) => {
  const form = compare();
  if (!form || !["open", "late"].includes(form.dataset.state)) return "refused";
  const { kind, response } = await request(address(form, `extend/${shown ? "?shown=1" : ""}`), new URLSearchParams());
  if (form !== compare()) return kind;
  if (kind === "done") {
    starts(Number.parseInt(response.headers.get("X-Rounds-Expires") ?? "", 10));
    if (!shown) {
      say();
      speak("You have more time.");
    }
  } else if (!shown) {
    say(kind === "refused" ? "This pair may have gone to a colleague. You can still answer: it is kept either way." : "The server cannot be reached just now: no more time yet. Your answer is kept either way.");
  }
  return kind;
};

const pressed = () => document.querySelector("[data-key-of=extend]")?.textContent ?? "X";
const look = () => {
  if (until === null || !compare() || warned < 0) return;
  const left = (until - performance.now()) / 1000;
  if (left <= 0) {
    warned = -1;
    notice("lease", "Your time on this pair ran out; it may go to a colleague. You can still answer: it is kept either way. ", button(`${pressed()}: more time`, () => void extend()));
    return;
  }
  // Asked again where it was not taken: each mark is passed once.
  const passed = WARN_AT_S.filter((mark) => left <= mark).length;
  if (passed > WARN_AT_S.length - warned) {
    warned = WARN_AT_S.length - passed;
    notice("lease", `You hold this pair for ${words(left)} more. `, button(`${pressed()}: more time`, () => void extend()));
  }
};
setInterval(look, 500);
follow((form) => { starts(Number.parseInt(form?.dataset.expires ?? "", 10)); look(); });
