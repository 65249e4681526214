// The list of contents, and the cards of links. Without this script both are plain: a folded list, and links.
(() => {
  const contents = /** @type {HTMLDetailsElement | null} */ (document.querySelector(".contents details"));
  if (contents) {
    const wide = matchMedia("(min-width: 84.01rem)");
    const fit = () => (contents.open = wide.matches);
    wide.addEventListener("change", fit);
    fit();
    const links = /** @type {HTMLAnchorElement[]} */ ([...contents.querySelectorAll('a[href^="#"]')]);
    const headings = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
    const mark = () => {
      const at = Math.max(
        0,
        headings.findLastIndex((heading) => heading && heading.getBoundingClientRect().top < innerHeight / 3),
      );
      links.forEach((link, k) => (k === at ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
    };
    addEventListener("scroll", () => requestAnimationFrame(mark), { passive: true });
    if (links.length) mark();
    contents.addEventListener("click", (event) => {
      if (/** @type {HTMLElement} */ (event.target).closest("a") && !wide.matches) contents.open = false;
    });
  }

  // One card for all links, below the link that the pointer is over or that has the focus; Escape hides it.
  const card = Object.assign(document.createElement("div"), { className: "card-of-link", id: "card-of-link", hidden: true });
  card.setAttribute("role", "tooltip");
  document.body.append(card);
  let timer = 0;
  /** @type {HTMLElement | null} */
  let owner = null;
  function show(/** @type {HTMLElement} */ link) {
    hide();
    owner = link;
    link.setAttribute("aria-describedby", card.id);
    card.textContent = link.dataset.card ?? "";
    card.hidden = false;
    const [box, room] = [link.getClientRects()[0], document.documentElement.clientWidth];
    const left = Math.max(8, Math.min(box.left, room - card.offsetWidth - 8));
    const below = box.bottom + card.offsetHeight + 12 < innerHeight || box.top < card.offsetHeight + 12;
    card.style.left = `${left + scrollX}px`;
    card.style.top = `${scrollY + (below ? box.bottom + 6 : box.top - card.offsetHeight - 6)}px`;
  }
  function hide() {
    clearTimeout(timer);
    card.hidden = true;
    owner?.removeAttribute("aria-describedby");
    owner = null;
  }
  const later = (/** @type {() => void} */ what) => {
    clearTimeout(timer);
    timer = setTimeout(what, 200);
  };
  const linkOf = (/** @type {Event} */ event) =>
    /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest?.("[data-card]"));
  addEventListener("pointerover", (event) => {
    const link = linkOf(event);
    if (link && event.pointerType === "mouse" && link !== owner) later(() => show(link));
    else if ((link && link === owner) || /** @type {HTMLElement} */ (event.target).closest?.("#card-of-link"))
      clearTimeout(timer);
    else if (owner || timer) later(hide);
  });
  addEventListener("focusin", (event) => {
    const link = linkOf(event);
    if (link?.matches(":focus-visible")) show(link);
    else hide();
  });
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
})();
