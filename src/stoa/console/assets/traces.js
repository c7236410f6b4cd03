// A running trace: its page is rendered again when a step arrives, at most every half second.

import { $, $$, page, times } from "./frame.js";

const shown = $("#trace"), source = new EventSource(shown.dataset.tail);
let due = 0, ended = false;
async function draw() {
  due = 0;
  const open = new Set($$("details[open]", shown).map(one => one.id));
  try {
    const fresh = $("#trace", (await page(location.pathname)).content);
    for (const one of $$("details", fresh)) one.open = open.has(one.id);
    shown.replaceChildren(...fresh.childNodes);
    times(shown);
  } catch { /* the next step tries again */ }
  if (ended) source.close();
}
function soon() { due ||= setTimeout(draw, 500); }
source.addEventListener("span", soon);
source.addEventListener("end", () => { ended = true; soon(); });
