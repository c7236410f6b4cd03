// Loads the doctor's line of the overview after the page, into an element that is reserved for it.

import { $, make, page } from "./frame.js";

const place = $(".doctor");
try {
  const { content } = await page(place.dataset.from), verdict = $("[data-verdict]", content)?.dataset.verdict;
  if (verdict) $("#verdict").textContent = verdict;
  place.replaceChildren(content);
} catch (error) {
  place.replaceChildren(make("p", { class: "notice bad" }, error.message));
}
place.removeAttribute("aria-busy");
