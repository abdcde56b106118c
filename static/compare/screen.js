// The compare screen: brings its parts together. Without it the page is a form that works.

import "./drafts.js";
import "./keys.js";
import { topUp } from "./flow.js";
import { shown } from "./pair.js";

shown();
// A pair that came with a page of its own starts where one that was painted does: at its top, unless somebody is somewhere already.
if (document.activeElement === document.body) document.getElementById("pair")?.focus({ preventScroll: true });
void topUp();
