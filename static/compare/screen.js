// The compare screen: brings its parts together. Without it the page is a form that works.

import "./drafts.js";
import "./keys.js";
import { topUp } from "./flow.js";
import { shown } from "./pair.js";

shown();
void topUp();
