// What the page of a widget does for the live widget beside it (live.py), which its kernel moves.
import { watchPresence } from "./page.js";

// What Jupyter calls a kernel that no longer has the widgets of its cells: ended, by anyone, or begun anew.
const GONE = /^(starting|(auto)?restarting|terminating|dead|disconnected)$/;

/**
 * Serves the live widget beside this page (live.py): gives its controls the names that ipywidgets leaves out for screen readers,
 * and marks it as disconnected where its kernel is gone, which ipywidgets does only where the reader restarted it: so the page
 * stands in its place until the cell is run again.
 * @param {HTMLElement} root
 */
export function serveLive(root) {
  const scope = root.closest(".jp-OutputArea") ?? document.body;
  const name = () => {
    for (const control of scope.querySelectorAll(":is(.noUi-handle, .widget-readout):not([aria-label])")) {
      const label = control.closest(".jupyter-widgets")?.querySelector(".widget-label")?.textContent;
      const value = control.classList.contains("widget-readout");
      if (label) control.setAttribute("aria-label", value ? `${label}, as a number` : label);
      if (value) control.setAttribute("role", "textbox");
    }
  };
  const named = new MutationObserver(name);
  const heard = new MutationObserver((changes) => {
    const notebook = root.closest(".jp-NotebookPanel");
    const ended = changes.map(({ target }) => /** @type {HTMLElement} */ (target)).filter((e) => GONE.test(e.dataset.status));
    if (ended.some((e) => notebook?.contains(e)))
      scope.querySelector(`.live-${root.dataset.widget}`)?.classList.add("jupyter-widgets-disconnected");
  });
  const start = () => {
    name();
    named.observe(scope, { childList: true, subtree: true });
    heard.observe(document.body, { attributeFilter: ["data-status"], subtree: true });
  };
  watchPresence(root, start, () => [named, heard].forEach((observer) => observer.disconnect()));
}
