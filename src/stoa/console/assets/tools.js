// Tools: a preview of the tools of an OpenAPI document, and test calls that show what the model would get.

import { $, $$, _, call, make, uuid } from "./frame.js";
import { gathered } from "./actions.js";

const importing = $("#import-tools"), plan = $(".plan");
importing?.addEventListener("answered", event => {
  const { tools, skipped } = event.detail.data, list = $(".plan-list", plan);
  list.replaceChildren(...tools.map(one => make("li", {}, make("label", { class: "choice" },
    make("input", { type: "checkbox", checked: "", value: one.operation }),
    make("span", {}, make("b", { class: "mono" }, one.name), " ", make("span", { class: "quiet" }, one.description.slice(0, 200)),
      ...one.notes.map(note => make("span", { class: "sub warn" }, note)))))));
  $(".plan-skipped", plan).replaceChildren(...skipped.map(one => make("li", {}, make("span", { class: "mono" }, one.operation), ` ${one.reason}`)));
  $(".plan-none", plan).hidden = !skipped.length;
  $(".plan-count", plan).textContent = _("{number} tools would be made; untick what you do not want.", { number: tools.length });
  plan.hidden = false;
  plan.scrollIntoView({ block: "nearest" });
  $(".plan-make", plan).focus();
});
importing?.addEventListener("input", event => { if (!plan.contains(event.target)) plan.hidden = true; });
$(".plan-make")?.addEventListener("click", async event => {
  const chosen = $$("input[type=checkbox]:checked", $(".plan-list", plan)).map(one => one.value);
  event.target.disabled = true;
  try {
    await call("POST", "/v1/tools/import", { ...gathered(importing), operations: chosen }, { "Idempotency-Key": uuid() });
    location.reload();
  } catch (error) { $(".problem", importing).textContent = error.message; event.target.disabled = false; }
});
$("#import-file")?.addEventListener("change", async event => {
  const file = event.target.files[0];
  if (file) { $("#import-document").value = await file.text(); plan.hidden = true; }
});
for (const form of $$("form.test")) form.addEventListener("answered", event => {
  const { result, error, milliseconds } = event.detail.data, out = $(".test-out", form);
  out.replaceChildren(make("p", { class: error ? "bad" : "good" }, error ? _("Failed after {number} ms: {code}", { number: milliseconds, code: error.code }) : _("Answered in {number} ms. A model would be told:", { number: milliseconds })),
    make("pre", { class: "plain wrap", tabindex: "0" }, error ? error.message : result));
});
