// Knowledge bases: creating and deleting them, uploading files, and polling items.

import { $, $$, Refusal, _, call, confirmed, make, page, say, times, uuid } from "./frame.js";

const stack = $("[data-base]"), base = stack?.dataset.base;

// --- a new one -------------------------------------------------------------------------------------------------------------
const creating = $("#create-base");
creating?.addEventListener("submit", async event => {
  event.preventDefault();
  const { name, description } = Object.fromEntries(new FormData(creating));
  try {
    const made = (await call("POST", "/v1/knowledgebases", { name, ...(description ? { description } : {}) }, { "Idempotency-Key": uuid() })).data;
    location.href = `/console/knowledge/${made.id}`;
  } catch (error) { $(".problem", creating).textContent = error.message; }
});
$(".cancel", creating ?? document)?.addEventListener("click", () => $("#new-base").close());

// --- deleting it ---------------------------------------------------------------------------------------------------------------
const deleting = $("#delete-base");
const deleted = async path => (await call("DELETE", path)).deletion_id;
if (deleting) {
  $("[data-open=delete-base]").addEventListener("click", async event => {
    event.stopPropagation();
    if (!await confirmed(deleting)) return;
    try { location.href = `/console/deletions/${await deleted(`/v1/knowledgebases/${base}`)}`; } catch (error) { say(error.message, true); }
  });
}

// --- files ---------------------------------------------------------------------------------------------------------------------
const uploads = $(".uploads"), drop = $(".drop");
const TOGETHER = 3;
const waiting = [];
let sending = 0;
function enqueue(files) { waiting.push(...files); while (sending < TOGETHER && waiting.length) next(); }
async function next() {
  const { file, name } = waiting.shift();
  sending += 1;
  const bar = make("progress", { max: 100, value: 0, "aria-label": name }), line = make("li", {}, make("span", { dir: "auto" }, name), bar);
  uploads.append(line);
  try { await upload(file, name, bar); line.remove(); watch(true); }
  catch (error) {
    bar.remove(); line.className = "bad";
    const again = make("button", { type: "button", class: "link" }, _("Try again")), gone = make("button", { type: "button", class: "icon", "aria-label": _("Remove {name}", { name }) }, "×");
    again.onclick = () => { line.remove(); enqueue([{ file, name }]); };
    gone.onclick = () => line.remove();
    line.append(make("span", { class: "why" }, error.message), again, gone);
  }
  sending -= 1;
  while (sending < TOGETHER && waiting.length) next();
}
function upload(file, name, bar) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(), form = new FormData();
    form.append("files", file, name);
    request.open("POST", `/v1/knowledgebases/${base}/upload`);
    request.setRequestHeader("Idempotency-Key", uuid());
    request.upload.onprogress = event => { if (event.lengthComputable) bar.value = 100 * event.loaded / event.total; };
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* no JSON */ }
      request.status < 300 ? resolve(answer.data) : reject(new Refusal(request.status, answer.error));
    };
    request.onerror = () => reject(new Error(_("The file could not be sent: the connection was lost.")));
    request.send(form);
  });
}
async function entries(items) {
  const found = [];
  const walk = async entry => {
    if (entry.isFile) found.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), name: entry.fullPath.replace(/^\//, "") });
    else {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!some.length) break;
        for (const one of some) await walk(one);
      }
    }
  };
  for (const entry of items) await walk(entry);
  return found;
}
if (drop) {
  $("input", drop).addEventListener("change", event => { enqueue([...event.target.files].map(file => ({ file, name: file.name }))); event.target.value = ""; });
  addEventListener("dragover", event => { event.preventDefault(); drop.classList.add("over"); });
  addEventListener("dragleave", event => { if (!event.relatedTarget) drop.classList.remove("over"); });
  addEventListener("drop", async event => {
    event.preventDefault();
    drop.classList.remove("over");
    const items = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
    enqueue(items.length ? await entries(items) : [...event.dataTransfer.files].map(file => ({ file, name: file.name })));
  });
}

// --- items: polled while one is processed ----------------------------------------------------------------------------------------
let timer = 0;
async function watch(now = false) {
  clearTimeout(timer);
  if (!$("#items") || (!now && !$("#items").dataset.working) || document.hidden) return;
  const begun = performance.now();
  try {
    const { content } = await page(`/console/knowledge/${base}/items${location.search}`);
    const focused = document.activeElement?.closest?.("#items tr")?.dataset.item, kind = document.activeElement?.className;
    $("#items").replaceWith(content);
    if (focused) $(`[data-item="${focused}"] .${kind.split(" ").pop()}`)?.focus();
    times($("#items"));
  } catch { /* try again at the next poll */ }
  timer = setTimeout(watch, Math.max(1000, 5 * (performance.now() - begun))); // Polls at most a fifth of the time.
}
if (base) { watch(); document.addEventListener("visibilitychange", () => watch()); }
document.addEventListener("click", async event => {
  const row = event.target.closest("tr[data-item]"), button = event.target.closest("button");
  if (!row || !button) return;
  try {
    if (button.matches(".again")) { await call("POST", `/v1/knowledgebase-items/${row.dataset.item}/reprocess`); watch(true); }
    if (button.matches(".remove")) {
      if (button.dataset.sure) {
        const receipt = await deleted(`/v1/knowledgebase-items/${row.dataset.item}`);
        row.replaceWith(make("tr", {}, make("td", { colspan: 6 }, _("Deleted {name}.", { name: row.dataset.name }), " ", make("a", { href: `/console/deletions/${receipt}` }, _("Receipt")))));
        return;
      }
      button.dataset.sure = "yes"; button.textContent = _("Delete for good?");
      setTimeout(() => { delete button.dataset.sure; button.textContent = _("Delete"); }, 4000);
    }
  } catch (error) { say(error.message, true); }
});
