// A shown text and what is laid over it: marks, the sentence in hand, places found. The text itself never changes.

const texts = new WeakMap();
const layers = new WeakMap();

export const textOf = (prose) => {
  if (!texts.has(prose)) texts.set(prose, prose.textContent);
  return texts.get(prose);
};

// `ranges`: [{start, end, name, label?}] in UTF-16 units of the shown text; start = end is a place between two characters.
export const lay = (prose, layer, ranges) => {
  textOf(prose);
  if (!layers.has(prose)) layers.set(prose, new Map());
  layers.get(prose).set(layer, ranges);
  repaint(prose);
};

const repaint = (prose) => {
  const text = textOf(prose);
  const ranges = [...layers.get(prose).values()].flat();
  const cuts = [...new Set([0, text.length, ...ranges.flatMap(({ start, end }) => [start, end])])].sort((one, other) => one - other);
  const nodes = [];
  const mark = (names, content, labels = []) => {
    const made = document.createElement("mark");
    made.className = names.map((name) => `is-${name}`).join(" ");
    made.textContent = content;
    if (labels.length) made.dataset.label = labels.join(" ");
    nodes.push(made);
  };
  cuts.forEach((from, nth) => {
    for (const { name, label } of ranges.filter(({ start, end }) => start === end && start === from)) mark([name, "place"], "", label ? [label] : []);
    const to = cuts[nth + 1];
    if (to === undefined) return;
    const over = ranges.filter(({ start, end }) => start <= from && end >= to && start < end);
    if (over.length === 0) nodes.push(document.createTextNode(text.slice(from, to)));
    else mark(over.map(({ name }) => name), text.slice(from, to), over.filter(({ end, label }) => label && end === to).map(({ label }) => label));
  });
  prose.replaceChildren(...nodes);
};

const STOPS = typeof Intl.Segmenter === "function" ? new Intl.Segmenter("en", { granularity: "sentence" }) : null;

// Sentences as [{start, end}]; a line is never part of the sentence before it, so that lists are walked point by point.
export const sentences = (text) => {
  const found = [];
  for (const line of text.matchAll(/[^\n]+/g)) {
    const parts = STOPS ? [...STOPS.segment(line[0])].map(({ index, segment }) => [index, segment]) : [...line[0].matchAll(/[^.!?]+[.!?]*\s*/g)].map((part) => [part.index, part[0]]);
    for (const [index, segment] of parts) {
      const words = segment.trim();
      if (!words) continue;
      const start = line.index + index + segment.indexOf(words);
      found.push({ start, end: start + words.length });
    }
  }
  return found;
};

// What is selected in `prose`, as {start, end}; null if nothing is.
export const selected = (prose) => {
  const selection = getSelection();
  if (!selection || selection.isCollapsed || selection.rangeCount === 0) return null;
  const range = selection.getRangeAt(0);
  if (!prose.contains(range.startContainer) || !prose.contains(range.endContainer)) return null;
  const before = document.createRange();
  before.selectNodeContents(prose);
  before.setEnd(range.startContainer, range.startOffset);
  const start = before.toString().length;
  const end = start + range.toString().length;
  return start < end ? { start, end } : null;
};

// Between the shown text (UTF-16) and the stored one (code points). `shifts` says where they part ways; see annotation/templatetags/compare.py.
const points = (text, units) => [...text.slice(0, units)].length;
const units = (text, count) => [...text].slice(0, count).join("").length;

export const toStored = (text, shifts, place) => {
  const at = points(text, place);
  let moved = at;
  for (const [from, to, storedFrom, storedTo] of shifts) {
    if (at >= to) moved = storedTo + (at - to);
    else if (at > from) moved = storedFrom;
  }
  return moved;
};

export const toShown = (text, shifts, stored) => {
  let at = stored;
  for (const [from, to, storedFrom, storedTo] of shifts) {
    if (stored >= storedTo) at = to + (stored - storedTo);
    else if (stored > storedFrom) at = from;
  }
  return units(text, at);
};

// The text as it is stored: an edit starts from that, not from how it is shown.
export const storedText = (text, shifts) => {
  const all = [...text];
  let made = "";
  let from = 0;
  for (const [start, end] of shifts) {
    const code = /^⟨U\+([0-9A-F]{4,6})⟩$/.exec(all.slice(start, end).join(""))?.[1];
    made += all.slice(from, start).join("") + (code ? String.fromCodePoint(Number.parseInt(code, 16)) : "\n");
    from = end;
  }
  return made + all.slice(from).join("");
};
