// The merge lab's sliders: each moves with the number beside it. Without this file there are the numbers alone.
"use strict";

const form = document.getElementById("merge");

const show = (root) => {
  for (const slider of root.querySelectorAll("input[data-dial][hidden]")) slider.hidden = false;
};

const fieldOf = (slider) => document.getElementById(slider.dataset.dial);
const sliderOf = (field) => form.querySelector(`input[data-dial="${CSS.escape(field.id)}"]`);

document.addEventListener("input", (event) => {
  if (!form?.contains(event.target)) return;
  if (event.target.matches("input[data-dial]")) {
    fieldOf(event.target).value = String(Number(Number(event.target.value).toPrecision(6)));
    return;
  }
  const slider = event.target.id && sliderOf(event.target);
  const number = Number(event.target.value);
  if (!slider || event.target.value.trim() === "" || !Number.isFinite(number)) return;
  // A typed number may lie beyond the slider's end: the end moves.
  if (number > Number(slider.max)) slider.max = number;
  if (number < Number(slider.min)) slider.min = number;
  slider.value = number;
});

// What is being written in the text is not drawn over: it was not part of what the server answers.
let sent = null;
const text = () => document.getElementById("id_yaml");
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target === form) sent = text()?.value;
});
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  if (event.target.id === "yaml-pane" && text() && text().value !== sent) event.detail.shouldSwap = false;
});
document.addEventListener("htmx:afterSettle", () => form && show(document));

if (form) show(document);
