// What the compare screen says: before everybody's eyes, or to screen readers alone.

const made = (tag, properties) => Object.assign(document.createElement(tag), properties);

// A notice that stands until it is replaced; without parts it goes away.
export const notice = (id, ...parts) => {
  const place = document.getElementById(id);
  if (!place) return;
  place.replaceChildren(...parts);
  place.hidden = parts.length === 0;
};
export const say = (...parts) => notice("said", ...parts);

// The same words twice in a row would be read once.
let odd = false;
export const speak = (words) => {
  const place = document.getElementById("spoken");
  odd = !odd;
  if (place) place.textContent = words + (odd ? "" : "\u00a0");
};

export const link = (href, textContent, elsewhere = false) => made("a", elsewhere ? { href, textContent, target: "_blank", rel: "noopener" } : { href, textContent });

export const button = (textContent, press) => {
  const one = made("button", { type: "button", className: "button", textContent });
  one.addEventListener("click", press);
  return one;
};

export const several = (count, one, many) => `${count} ${count === 1 ? one : many}`;
