// The lead's keys: 1 to 5 choose what is decided, Enter sends it. The page works without them.
const form = document.getElementById("ruling");
const typing = (target) => target.closest("textarea, select, input:not([type=radio], [type=checkbox])") !== null;

document.addEventListener("keydown", (event) => {
  if (!form || event.ctrlKey || event.metaKey || event.altKey || event.repeat || typing(event.target)) return;
  if (event.key === "Enter") {
    // A button, a link or a fold that has the focus is what Enter is for.
    if (event.target.closest("a, button, summary")) return;
    event.preventDefault();
    form.requestSubmit();
    return;
  }
  const choice = form.querySelector(`input[data-key="${CSS.escape(event.key)}"]`);
  if (!choice) return;
  event.preventDefault();
  choice.checked = true;
  choice.focus();
});

// Sent once: a second press while the page is on its way would only be the same ruling again.
form?.addEventListener("submit", (event) => {
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => { if (form) delete form.dataset.sent; });
