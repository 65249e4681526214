// The prompt box where no kernel is: shows the pictures of one of a few captions (see prompt.py).
import { serveLive } from "./live.js";
import { keepKeys, make, stage, tip } from "./page.js";

/**
 * @param {HTMLElement} root
 * @param {{ prompts: string[] }} data
 */
export function mount(root, { prompts }) {
  const sections = [...root.querySelectorAll("section")];
  const select = make("select", { "aria-label": "Caption" }, ...prompts.map((prompt) => make("option", {}, prompt)));
  const help = tip(
    "Choose a caption. Below each picture: what the detector finds in it. In a notebook, run this cell to write captions of your own.",
    () => {
      select.selectedIndex = 0;
      choose();
    },
  );

  function choose() {
    sections.forEach((section, k) => (section.hidden = k !== select.selectedIndex));
    root.dataset.shown = select.value;
  }

  for (const section of sections) section.querySelector("h4").remove(); // the caption stands in the select
  sections[0].before(select);
  root.append(help);
  select.addEventListener("change", choose);
  keepKeys(select);
  serveLive(root);
  choose();
  stage(root, () => {}); // for the theme
}
