// The search: every word of the query must stand in an entry; entries with it in their title come first.
/** @typedef {{ title: string, at: string, kind: string, text: string }} Entry */
(() => {
  const all = /** @type {Entry[]} */ (JSON.parse(document.getElementById("entries")?.textContent ?? "[]"));
  const entries = all.map((entry) => ({ ...entry, low: `${entry.title}\n${entry.text}`.toLowerCase() }));
  const box = /** @type {HTMLInputElement} */ (document.getElementById("search"));
  const [list, count] = ["found", "count"].map((id) => /** @type {HTMLElement} */ (document.getElementById(id)));
  const wordsOf = (/** @type {string} */ text) => text.toLowerCase().split(/\s+/).filter(Boolean);

  function rank(/** @type {Entry} */ entry, /** @type {string[]} */ asked) {
    const title = entry.title.toLowerCase();
    if (title === asked.join(" ") || title.endsWith(`.${asked.join(" ")}`)) return 100;
    return asked.filter((word) => title.includes(word)).length;
  }
  // The text with the words that were asked for as <mark>.
  function marked(/** @type {string} */ text, /** @type {string[]} */ asked) {
    const pattern = new RegExp(`(${asked.map((word) => word.replace(/[^\w\s]/gu, "\\$&")).join("|")})`, "gi");
    return text
      .split(pattern)
      .map((part, k) => (k % 2 ? Object.assign(document.createElement("mark"), { textContent: part }) : part));
  }
  function snippet(/** @type {string} */ text, /** @type {string[]} */ asked) {
    const low = text.toLowerCase();
    const at = Math.min(...asked.map((word) => low.indexOf(word)).filter((k) => k >= 0), text.length);
    const begin = at === text.length ? 0 : Math.max(0, text.lastIndexOf(" ", Math.max(0, at - 60)) + 1);
    const cut = text.slice(begin, begin + 190);
    return `${begin ? "… " : ""}${begin + 190 < text.length ? `${cut.slice(0, cut.lastIndexOf(" "))} …` : cut}`;
  }
  function search() {
    const asked = wordsOf(box.value);
    const fit = asked.length ? entries.filter((entry) => asked.every((word) => entry.low.includes(word))) : [];
    fit.sort((a, b) => rank(b, asked) - rank(a, asked));
    list.replaceChildren(
      ...fit.slice(0, 30).map((entry) => {
        const [item, link, where, text] = ["li", "a", "small", "p"].map((tag) => document.createElement(tag));
        link.setAttribute("href", entry.at);
        link.append(...marked(entry.title, asked));
        where.textContent = entry.kind;
        text.append(...marked(snippet(entry.text, asked), asked));
        item.append(link, where, text);
        return item;
      }),
    );
    const many = fit.length > 30 ? `the first 30 of ${fit.length}` : `${fit.length} found`;
    count.textContent = !asked.length ? "" : fit.length ? many : "Nothing found: try fewer words.";
  }
  box.addEventListener("input", () => {
    search();
    history.replaceState(null, "", box.value.trim() ? `?q=${encodeURIComponent(box.value.trim())}` : location.pathname);
  });
  box.form?.addEventListener("submit", (event) => {
    event.preventDefault();
    list.querySelector("a")?.click();
  });
  box.value = new URLSearchParams(location.search).get("q") ?? "";
  search();
  box.focus();
})();
