// What scrolls sideways can be reached by keyboard, and nothing else can: a code block that fits is no stop of the Tab key.
const scrollers = document.querySelectorAll("pre, table, .display-equation, .jp-OutputArea-output, .jp-Cell-inputWrapper");
new ResizeObserver(() => {
  for (const element of scrollers)
    if (element.scrollWidth > element.clientWidth) element.setAttribute("tabindex", "0");
    else element.removeAttribute("tabindex");
}).observe(document.body);
