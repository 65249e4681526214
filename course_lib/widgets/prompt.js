// The prompt box where no kernel is: shows the pictures of one of a few captions (see prompt.py).

function mount(root, { prompts }) {
  const sections = [...root.querySelectorAll("section")];
  const select = make("select", { "aria-label": "Caption" }, ...prompts.map((words) => make("option", {}, words)));
  const words = make("p", {}, "Below each picture: what the reader reads. To write captions of your own, run the notebook.");

  function choose() {
    sections.forEach((section, k) => (section.hidden = k !== select.selectedIndex));
    root.dataset.shown = select.value;
    theme(root);
  }

  for (const section of sections) section.querySelector("h4").remove(); // the caption stands in the select
  sections[0].before(select);
  root.append(words);
  select.addEventListener("change", choose);
  select.addEventListener("keydown", (event) => event.stopPropagation()); // or the notebook takes the key as well
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(root));
  choose();
}
