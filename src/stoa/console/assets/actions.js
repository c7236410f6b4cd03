// Forms and buttons that call the API, declared in the markup: data-call="POST /v1/tools".
//
// A form's fields become the body: a name with dots is a path, data-kind says how to parse the text (number, json,
// lines, pairs, yes). Empty fields are left out. data-then: "reload", "go <path with {id}>", "show <dialog id>".

import { $, $$, _, call, confirmed, page, say, times, uuid } from "./frame.js";

const READERS = {
  number: Number,
  lines: text => text.split("\n").map(line => line.trim()).filter(Boolean),
  pairs: text => Object.fromEntries(text.split("\n").filter(line => line.trim()).map(line => {
    const at = line.indexOf(":");
    if (at < 1) throw new Error(_("“{line}” needs a colon between name and value.", { line: line.trim().slice(0, 60) }));
    return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
  })),
  json: text => { try { return JSON.parse(text); } catch (error) { throw new Error(_("This is no JSON: {why}", { why: error.message })); } },
  moment: text => new Date(text).toISOString(),
};
function put(body, path, value) {
  const names = path.split("."), last = names.pop();
  let at = body;
  for (const name of names) at = at[name] ??= {};
  at[last] = value;
}
const FIELDS = "input[name], select[name], textarea[name]";
export function gathered(form) {
  const body = form.dataset.body ? JSON.parse(form.dataset.body) : {};
  for (const field of $$(FIELDS, form)) {
    if (field.closest("[hidden]") || field.disabled) continue;
    if (field.type === "checkbox") { if (field.checked || field.dataset.kind === "yes") put(body, field.name, field.checked); continue; }
    if (field.type === "radio" && !field.checked) continue;
    const text = field.value;
    if (text.trim() === "") continue;
    try { put(body, field.name, field.dataset.kind ? READERS[field.dataset.kind](text) : text); }
    catch (error) { error.field = field; throw error; }
  }
  return body;
}
function blame(form, error) {
  for (const field of $$("[aria-invalid]", form)) field.removeAttribute("aria-invalid");
  const bad = error.field ?? Object.keys(error.details ?? {}).map(path => $(`[name="${CSS.escape(path)}"]`, form)).find(Boolean);
  const problem = $(".problem", form);
  if (problem) problem.textContent = error.message; else say(error.message, true);
  if (bad) { bad.setAttribute("aria-invalid", "true"); bad.focus(); }
}
async function then(element, answer) {
  const [what, where] = (element.dataset.then ?? "reload").split(" ");
  if (what === "go") location.href = where.replace(/\{(\w+)\}/g, (whole, name) => answer.data?.[name] ?? answer[name] ?? whole);
  else if (what === "show") {
    const dialog = document.getElementById(where);
    for (const place of $$("[data-show]", dialog)) {
      const value = answer.data?.[place.dataset.show] ?? "";
      place.textContent = place.dataset.before && value ? location.origin + place.dataset.before + value : typeof value === "string" ? value : JSON.stringify(value, null, 2);
      place.closest("[data-when]")?.toggleAttribute("hidden", !value);
    }
    element.closest("dialog")?.close();
    dialog.onclose = () => { if (dialog.dataset.after) location.href = dialog.dataset.after.replace("{id}", answer.data?.id); else location.reload(); };
    dialog.showModal();
  } else if (what === "event") element.dispatchEvent(new CustomEvent("answered", { detail: answer, bubbles: true }));
  else location.reload();
}
async function made(element, body) {
  const [method, path] = element.dataset.call.split(" ");
  const keyed = method === "POST" ? { "Idempotency-Key": uuid() } : {};
  const held = element.matches("form") ? $$("button:not(.cancel)", element) : [element];
  for (const one of held) one.disabled = true;
  try { await then(element, await call(method, path, body, keyed)); }
  finally { for (const one of held) one.disabled = false; }
}
document.addEventListener("submit", async event => {
  const form = event.target.closest("form[data-call]");
  if (!form) return;
  event.preventDefault();
  try { await made(form, gathered(form)); } catch (error) { blame(form, error); }
});
document.addEventListener("click", async event => {
  if (event.target.closest("button.cancel")) { event.target.closest("dialog")?.close(); return; }
  const button = event.target.closest("button[data-call]");
  if (!button) return;
  try {
    if (button.dataset.ask) {
      const dialog = document.getElementById(button.dataset.ask), word = $("[data-word]", dialog);
      if (button.dataset.word && word) {
        word.dataset.word = button.dataset.word;
        $(`label[for="${word.id}"]`, dialog).textContent = _("Type “{word}” to confirm", { word: button.dataset.word });
      }
      if (!await confirmed(dialog)) return;
    }
    await made(button, button.dataset.body ? JSON.parse(button.dataset.body) : undefined);
  } catch (error) { say(error.message, true); }
});

// A select that calls the API when it changes. If the call is refused, the previous choice is restored.
for (const select of $$("select[data-call]")) {
  let before = select.value;
  select.addEventListener("change", async () => {
    const [method, path] = select.dataset.call.split(" ");
    try { await call(method, path, { [select.name]: select.value }); before = select.value; say(select.dataset.said); }
    catch (error) { select.value = before; say(error.message, true); }
  });
}

// Fields that depend on a choice: <select data-shows> hides each element whose data-for does not name the chosen value.
function choose(select) {
  const root = select.closest("form") ?? document;
  for (const one of $$("[data-for]", root)) one.hidden = !one.dataset.for.split(" ").includes(select.value);
  for (const one of $$("[data-for] [data-required]", root)) one.required = !one.closest("[hidden]");
}
for (const select of $$("select[data-shows]")) { choose(select); select.addEventListener("change", () => choose(select)); }
for (const select of $$("select[data-go]")) select.addEventListener("change", () => select.form.requestSubmit());

// A part of the page that is reloaded every second while it has data-working.
async function watched(part) {
  if (!part.dataset.working) return;
  const begun = performance.now();
  if (!document.hidden) try {
    const focused = document.activeElement?.closest?.("[data-key]"), action = document.activeElement?.dataset?.call;
    const { content } = await page(part.dataset.watch), fresh = content.firstElementChild;
    part.replaceWith(fresh); part = fresh; times(part);
    if (focused && action) $(`[data-key="${focused.dataset.key}"] [data-call="${CSS.escape(action)}"]`, part)?.focus();
  } catch { /* Try again at the next poll. */ }
  setTimeout(() => watched(part), Math.max(1000, 5 * (performance.now() - begun))); // Polls at most a fifth of the time.
}
for (const part of $$("[data-watch]")) setTimeout(() => watched(part), 1000);
