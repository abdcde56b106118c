// Before the first paint: the reader's own choice of light or dark, if they made one; else the system's.
(() => {
  try {
    const chosen = localStorage.getItem("rounds-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // A browser that keeps nothing follows the system.
  }
})();
