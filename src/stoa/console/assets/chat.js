// The chat. The server renders answers; this script sends messages, follows runs, and inserts the pieces.

import { $, $$, Refusal, _, call, composes, confirmed, copied, fragment, make, page, remembered, say, times, uuid } from "./frame.js";

const chat = $(".chat"), thread = $(".thread"), composer = $(".composer"), field = $("#say"), stopButton = $(".stop");
const connection = $(".connection"), announcer = $(".announcer"), toEnd = $(".to-end"), problem = $(".composer .problem");
const store = {
  get: key => { try { return JSON.parse(sessionStorage.getItem(key)); } catch { return null; } },
  set: (key, value) => { try { value === null ? sessionStorage.removeItem(key) : sessionStorage.setItem(key, JSON.stringify(value)); } catch { /* full, or forbidden */ } },
};
let conversation = chat.dataset.conversation || null, making = null, known = Number(chat.dataset.messages);
let active = chat.dataset.active || null;

// --- scrolling ------------------------------------------------------------------------------------------------------------
const scroller = document.scrollingElement;
let atEnd = true, top = 0, height = 0;
const farFromEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
const endOfThread = () => scroller.scrollTo({ top: scroller.scrollHeight, behavior: "instant" });
// Scrolling up stops following the end at once, and returning to the end resumes it. A movement by the browser because
// the page became shorter does not count as scrolling up.
addEventListener("scroll", () => {
  const far = farFromEnd(), up = scroller.scrollTop < top - 0.5 && scroller.scrollHeight >= height;
  atEnd = up ? far < 2 : atEnd || far < 60;
  top = scroller.scrollTop; height = scroller.scrollHeight;
  toEnd.hidden = atEnd || far < 240;
}, { passive: true });
toEnd.addEventListener("click", () => { atEnd = true; endOfThread(); });
const settle = () => { if (atEnd) endOfThread(); else toEnd.hidden = farFromEnd() < 240; };

// --- one run ----------------------------------------------------------------------------------------------------------------
class Follower {
  constructor(article) {
    this.article = article; this.run = article.dataset.run; this.body = $(".answer-body", article); this.foot = $(".answer-foot", article);
    this.after = 0; this.waited = 0; this.spoken = 0; this.ended = false;
  }
  open() {
    if (this.ended || this.source) return;
    const source = this.source = new EventSource(`/console/runs/${this.run}/stream${this.after ? `?after=${this.after}` : ""}`);
    const take = (event, act) => { if (event.lastEventId) this.after = Number(event.lastEventId); this.waited = 0; online(true); act(JSON.parse(event.data)); settle(); };
    source.onopen = () => online(true);
    source.addEventListener("put", event => take(event, changes => { changes.forEach(change => this.change(change)); this.announce(); }));
    source.addEventListener("state", event => take(event, state => { this.article.dataset.status = state.status; busy(); }));
    source.addEventListener("end", event => take(event, end => this.end(end)));
    source.onerror = () => {
      if (this.ended) return;
      online(false);
      this.close();
      this.waited = Math.min(10, this.waited ? this.waited * 1.6 : 0.5);
      this.timer = setTimeout(() => this.open(), this.waited * 1000);
    };
  }
  close() { this.source?.close(); this.source = null; clearTimeout(this.timer); }
  again() { this.close(); this.waited = 0; this.open(); }
  change(change) {
    if (change.clear) { this.body.replaceChildren(); this.spoken = 0; return; }
    if (change.append) { $("code", document.getElementById(change.append))?.append(change.text); return; }
    const fresh = fragment(change.html).firstElementChild, old = document.getElementById(change.put);
    fresh.id = change.put;
    if (old && this.body.contains(old)) {
      if (old.querySelector("form") && old.contains(document.activeElement) && fresh.querySelector("form")) return;
      for (const open of $$("details[open][id]", old)) { const same = $(`#${CSS.escape(open.id)}`, fresh); if (same) same.open = true; }
      const focused = old.contains(document.activeElement) && document.activeElement.matches("summary");
      old.replaceWith(fresh);
      if (focused) $("summary", fresh)?.focus();
    } else this.body.append(fresh);
    if (fresh.matches(".card.waiting")) { announce(_("A person is asked: {text}", { text: $(".prompt", fresh).textContent })); }
  }
  announce(all = false) {
    if (!all && remembered("stoa-reading") === "done") return;
    const text = $$(":scope > .block", this.body).map(block => block.textContent).join(" ");
    const fresh = text.slice(this.spoken), end = all ? fresh.length : Math.max(...[". ", "! ", "? ", ".\n", ":\n"].map(mark => fresh.lastIndexOf(mark))) + 1;
    if (end <= 0) return;
    if (fresh.slice(0, end).trim()) announce(fresh.slice(0, end));
    this.spoken += end;
  }
  end(end) {
    this.ended = true; this.close();
    this.article.classList.remove("live");
    this.article.removeAttribute("aria-busy");
    this.article.dataset.status = end.status;
    this.foot.replaceChildren(fragment(end.html));
    this.announce(true);
    if (active === this.run) active = null;
    followers.delete(this.run);
    busy();
    verify(this.article, end.events);
    talks();
    setTimeout(refresh, 150);
  }
}
const followers = new Map();
function follow(article) {
  if (followers.has(article.dataset.run)) return;
  const follower = new Follower(article);
  followers.set(article.dataset.run, follower);
  follower.open();
}
let quiet = 0;
function announce(text) {
  announcer.append(make("p", {}, text));
  clearTimeout(quiet);
  quiet = setTimeout(() => announcer.replaceChildren(), 8000);
}
function online(good, why) {
  connection.hidden = good;
  if (!good) $("span", connection).textContent = why ? _("The server cannot take it right now, and it is sent again by itself: {why}", { why }) : navigator.onLine ? _("The connection to the server is lost. The answer goes on there; this page catches up by itself.") : _("You are offline. The answer goes on at the server; this page catches up by itself.");
}
function busy() {
  const running = [...followers.values()].some(one => !one.ended) || active;
  stopButton.hidden = !running;
  chat.classList.toggle("busy", Boolean(running));
}
addEventListener("online", () => { followers.forEach(one => one.again()); retry(); refresh(); });
addEventListener("offline", () => online(false));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) followers.forEach(one => one.close());
  else { followers.forEach(one => one.open()); refresh(); }
});

// --- verification: the journal's bytes against its hash -------------------------------------------------------------------------
async function verify(article, drawn) {
  const place = $(".verified", article), run = article.dataset.run;
  if (!place || !run) return;
  const show = (kind, text, title) => place.replaceChildren(make("span", { class: kind, title }, text));
  if (!crypto.subtle) { show("quiet", _("not verified"), _("Browsers compute hashes only on HTTPS or localhost.")); return; }
  try {
    const response = await fetch(`/v1/runs/${run}/stream`);
    if (!response.ok) throw new Refusal(response.status);
    const lines = (await response.text()).split("\n").filter(line => line.startsWith("data: ")).map(line => line.slice(6));
    const { log } = JSON.parse(lines.pop()).data;
    const bytes = new TextEncoder().encode(lines.map(line => `${line}\n`).join(""));
    const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].map(byte => byte.toString(16).padStart(2, "0")).join("");
    const whole = log.events === lines.length && log.sha256 === digest && (drawn === undefined || drawn === log.events);
    if (whole) show("good", `✓ ${_("verified")}`, _("All {events} events of this run’s journal were read, and their SHA-256 is {hash}.", { events: log.events, hash: digest }));
    else show("bad", _("does not match its journal"), _("The events that were read do not give the hash that the run’s end states."));
  } catch (error) { show("quiet", _("not verified"), error.message); }
}

// --- sending -----------------------------------------------------------------------------------------------------------------------
const chosenBases = () => $$("[name=base]:checked", composer).map(one => one.value);
const agent = () => { const bases = chosenBases(); return bases.length ? { knowledge_bases: bases } : null; };
function ensure(title) {
  if (conversation) return Promise.resolve(conversation);
  making ??= (async () => {
    const what = chat.dataset.app ? { app_id: chat.dataset.app } : { model_id: $("#model").value, agent: agent() ?? undefined };
    const body = { ...what, title: title.slice(0, 80) || undefined };
    const made = await deliver({ path: "/v1/conversations", body, key: uuid() });
    store.set("draft:", null);
    conversation = chat.dataset.conversation = made.id;
    store.set(draftKey(), field.value || null);
    history.replaceState(null, "", `/console/chat/${made.id}`);
    name(made.title);
    $(".act-delete").hidden = pinButton.hidden = false;
    return made.id;
  })().finally(() => { making = null; });
  return making;
}
function name(title) {
  $(".talk-head h1").classList.remove("hidden");
  $(".rename").textContent = title || _("Untitled");
  document.title = `${title || _("Untitled")} · Stoa`;
}
const draftKey = () => `draft:${conversation ?? ""}`;
// A long text is not measured, and its direction is decided here: Chromium takes eight seconds to lay out 20,000 lines
// under dir=auto.
const LONG = 8000, TALLEST = 260, RIGHT_TO_LEFT = /^[^\p{L}]*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/u;
function direct(text) { field.dir = text.length <= LONG ? "auto" : RIGHT_TO_LEFT.test(text.slice(0, 1000)) ? "rtl" : "ltr"; }
field.addEventListener("beforeinput", event => direct(field.value.slice(0, field.selectionStart) + (event.data ?? "") + field.value.slice(field.selectionEnd)));
function grow() {
  if (field.value.length > LONG) { if (field.style.height !== `${TALLEST}px`) field.style.height = `${TALLEST}px`; return; }
  field.style.height = "auto"; field.style.height = `${Math.min(field.scrollHeight, TALLEST)}px`;
}
// Long drafts are stored when the typing pauses.
let saving = 0;
function draft() {
  clearTimeout(saving);
  const save = () => store.set(draftKey(), field.value || null);
  if (field.value.length > LONG) saving = setTimeout(save, 500); else save();
}
addEventListener("pagehide", () => { if (field.value.length > LONG) store.set(draftKey(), field.value); });
field.addEventListener("input", () => { grow(); draft(); problem.textContent = ""; });
field.addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey && !composes(event)) { event.preventDefault(); composer.requestSubmit(); }
  else if (event.key === "ArrowUp" && !field.value) { const last = $$(".message.user[data-message] .act-edit").pop(); if (last) { event.preventDefault(); last.click(); } }
  else if (event.key === "Escape" && !stopButton.hidden) stopButton.click();
});
composer.addEventListener("submit", async event => {
  event.preventDefault();
  const text = field.value.trim(), files = attached.filter(one => one.id);
  if (!text && !files.length) { field.focus(); return; }
  if (attached.some(one => one.uploading)) { problem.textContent = _("A file is still being sent; wait a moment, or remove it."); return; }
  if (attached.some(one => one.unreadable)) { problem.textContent = _("A file cannot be read: remove it, or attach another."); return; }
  if (attached.some(one => one.error)) { problem.textContent = _("A file was not sent: try it again, or remove it."); return; }
  const content = [...(text ? [{ type: "text", text }] : []), ...files.map(one => ({ type: "file", file: { id: one.id, name: one.name } }))];
  problem.textContent = "";
  field.value = ""; direct(""); grow();
  store.set(draftKey(), null);
  attached.splice(0); drawAttached();
  await post({ path: null, title: text || files[0]?.name || "", body: { content, background: true, on_busy: "queue" }, key: uuid() }, text, files);
  field.focus();
});
async function post(message, text, files = []) {
  $("#welcome")?.remove();
  const bubble = make("article", { class: "message user pending", id: `sending-${message.key}`, "aria-label": _("You") },
    make("div", { class: "bubble", dir: "auto" }, make("div", { class: "said" }, text), ...files.map(one => make("span", { class: "file" }, one.name))));
  thread.append(bubble);
  atEnd = true; endOfThread();
  store.set("sending", { ...message, text });
  try {
    const where = await ensure(message.title);
    message.path ??= `/v3/conversations/${where}/messages`;
    if (message.path.startsWith("/v3") && $("#model").value) message.body.model_id ??= $("#model").value;
    store.set("sending", { ...message, text });
    const run = await deliver(message);
    store.set("sending", null);
    began(run, bubble, message);
  } catch (error) {
    store.set("sending", null);
    bubble.remove();
    restore(text);
    attached.push(...files); drawAttached();
    problem.textContent = error.message;
  }
}
// Every retry has the same Idempotency-Key, so that there is one message and one run.
async function deliver(message) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const answer = await call("POST", message.path, message.body, { "Idempotency-Key": message.key });
      online(true);
      return answer.data;
    } catch (error) {
      const temporary = !(error instanceof Refusal) || error.status === 503 || error.status === 429;
      if (!temporary || attempt > 400) throw error;
      online(false, error instanceof Refusal ? error.message : "");
      await new Promise(resolve => { setTimeout(resolve, Math.min(3000, 300 * 1.5 ** attempt)); addEventListener("online", resolve, { once: true }); });
    }
  }
}
// A message that was not accepted returns to the field, before what was typed meanwhile.
function restore(text) {
  if (!text) return;
  const whole = field.value && field.value !== text ? `${text}\n${field.value}` : text;
  direct(whole); field.value = whole;
  grow(); store.set(draftKey(), field.value);
}
async function retry() {
  const message = store.get("sending");
  if (!message || $(`#sending-${CSS.escape(message.key)}`)) return;
  if (!message.path && !conversation) { store.set("sending", null); restore(message.text); return; }
  if (!message.path?.includes(conversation ?? "none")) return;
  try { await deliver(message); store.set("sending", null); refresh(); }
  catch (error) { store.set("sending", null); restore(message.text); problem.textContent = error.message; }
}
function began(run, bubble, message) {
  if (run.message_id && !$(`#message-${run.message_id}`)) {
    bubble.id = `message-${run.message_id}`; bubble.dataset.message = run.message_id;
    bubble.append(make("div", { class: "line-below" }, make("span", { class: "actions" }, make("button", { type: "button", class: "link act-edit" }, _("Edit in a fork")))));
  } else bubble.remove();
  bubble.classList.remove("pending");
  known += 1;
  if (run.status === "created" && active && active !== run.id) { bubble.remove(); refresh(); return; }
  open(run.id);
  if (message.body.content) talks();
}
function open(run) {
  active = run;
  let article = document.getElementById(`run-${run}`);
  if (!article) {
    article = make("article", { class: "message answer live", id: `run-${run}`, "data-run": run, "data-status": "started", "aria-label": _("Answer"), "aria-busy": "true" },
      make("div", { class: "answer-body" }), make("div", { class: "answer-foot" }));
    thread.append(article);
  }
  follow(article);
  busy(); settle();
}
stopButton.addEventListener("click", async () => {
  for (const follower of followers.values()) {
    try { await call("POST", `/v1/runs/${follower.run}/cancel`); } catch (error) { say(error.message, true); }
  }
  field.focus();
});

// --- changes by another tab or by a queue ---------------------------------------------------------------------------------------------
let refreshing = false;
async function refresh() {
  if (!conversation || refreshing || document.hidden || making) return;
  refreshing = true;
  try {
    const now = (await call("GET", `/v1/conversations/${conversation}`)).data;
    if (now.message_count === known && (now.active_run_id ?? null) === active && !$(".queued", thread)) return;
    const { content, headers } = await page(`/console/chat/${conversation}/thread`);
    known = Number(headers.get("stoa-messages"));
    merge(content);
  } catch (error) { if (error instanceof Refusal && error.status === 404) leave(); }
  finally { refreshing = false; }
}
// The conversation was deleted in another tab. What was typed into it goes along.
function leave() {
  if (field.value) store.set("draft:", field.value);
  store.set(draftKey(), null); store.set("gone", true);
  conversation = null;
  location.replace("/");
}
function merge(content) {
  $$(".queued", thread).forEach(one => one.remove());
  for (const piece of [...content.children]) {
    if (!piece.id) continue;
    const run = piece.matches(".answer") ? piece : $(".answer", piece);
    const here = document.getElementById(piece.id), same = run && document.getElementById(run.id);
    if (piece.matches("details.earlier")) {
      if (!here && same && same.closest("details.earlier") === null) { same.replaceWith(piece); if (same.matches(".answer")) $(".answer-body", piece)?.replaceWith($(".answer-body", same)); }
    } else if (same) { if (run.dataset.message) same.dataset.message = run.dataset.message; if (run.matches(".live") && same.matches(".live")) follow(same); }
    else if (!here) { thread.append(piece); if (run?.matches(".live")) { active = run.dataset.run; follow(run); } }
  }
  times(thread); busy(); settle();
}
setInterval(() => { if (!document.hidden) refresh(); }, 4000);
async function talks() {
  try {
    const { content } = await page(`/console/talks${conversation ? `?current=${conversation}` : ""}`);
    $(".talks")?.replaceWith(content);
  } catch { /* the next refresh shows it */ }
}

// --- files ---------------------------------------------------------------------------------------------------------------------------
const attached = [];
function drawAttached() {
  $(".attachments").replaceChildren(...attached.map(one => {
    const bar = one.bar = make("progress", { max: 100, value: one.percent, "aria-label": one.name });
    const gone = make("button", { type: "button", class: "icon", "aria-label": _("Remove {name}", { name: one.name }) }, "×");
    gone.addEventListener("click", () => { one.request?.abort(); attached.splice(attached.indexOf(one), 1); drawAttached(); });
    const again = make("button", { type: "button", class: "link" }, _("Try again"));
    again.addEventListener("click", () => transfer(one));
    return make("li", { class: one.error ? "bad" : "" }, make("span", { class: "name", dir: "auto", title: one.name }, one.name), ...(one.uploading ? [bar] : []), ...(one.error ? [make("span", { class: "why" }, one.error), ...(one.unreadable ? [] : [again])] : []), gone);
  }));
}
async function attach(files) {
  const fresh = files.map(file => ({ file, name: file.name || _("pasted file"), percent: 0, uploading: true }));
  attached.push(...fresh); drawAttached();
  for (const one of fresh) if (attached.includes(one)) await transfer(one);
}
async function transfer(one) {
  Object.assign(one, { uploading: true, error: null, percent: 0 }); drawAttached();
  try {
    const where = await ensure(field.value.trim() || one.name);
    one.id = (await upload(`/v1/conversations/${where}/files`, one.file, one)).id;
    readable(one);
  } catch (error) { one.error = error.message; }
  one.uploading = false;
  drawAttached();
}
// The server reads a file after the upload. This waits for it, so that an unreadable file is reported before sending.
async function readable(one) {
  try {
    for (let pause = 300; pause < 6000 && attached.includes(one); pause *= 1.6) {
      await new Promise(done => setTimeout(done, pause));
      const { status, error } = (await call("GET", `/v1/files/${one.id}`)).data;
      if (status === "failed") { one.error = error.message; one.unreadable = true; drawAttached(); }
      if (status !== "pending") return;
    }
  } catch { /* the answer reports it */ }
}
function upload(path, file, one) {
  return new Promise((resolve, reject) => {
    const request = one.request = new XMLHttpRequest(), form = new FormData();
    form.append("file", file, one.name);
    request.open("POST", path);
    request.upload.onprogress = event => { one.percent = event.lengthComputable ? 100 * event.loaded / event.total : 0; if (one.bar) one.bar.value = one.percent; };
    request.onload = () => { let answer = {}; try { answer = JSON.parse(request.responseText); } catch { /* no JSON */ } request.status < 300 ? resolve(answer.data) : reject(new Refusal(request.status, answer.error)); };
    request.onerror = () => reject(new Error(_("The file could not be sent: the connection was lost.")));
    request.onabort = () => reject(new Error(_("Removed.")));
    request.send(form);
  });
}
$(".attach input").addEventListener("change", event => { attach([...event.target.files]); event.target.value = ""; });
// Spreadsheets and word processors put text and a picture of it on the clipboard: treat it as text.
const isText = data => data.types.includes("text/html") && data.types.includes("text/plain");
field.addEventListener("paste", event => { const files = [...event.clipboardData.files]; if (files.length && !isText(event.clipboardData)) { event.preventDefault(); attach(files); } });
addEventListener("beforeunload", event => { if (attached.some(one => one.uploading)) event.preventDefault(); });
let over = 0;
addEventListener("dragenter", event => { if (event.dataTransfer?.types.includes("Files")) { over += 1; chat.classList.add("dropping"); } });
addEventListener("dragleave", () => { over = Math.max(0, over - 1); if (!over) chat.classList.remove("dropping"); });
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => { event.preventDefault(); over = 0; chat.classList.remove("dropping"); attach([...event.dataTransfer.files]); });

// --- actions on messages ----------------------------------------------------------------------------------------------------------------
async function idOf(article) {
  if (article.dataset.message) return article.dataset.message;
  const last = Math.max(1, Math.ceil((known + 1) / 100));
  for (const number of [last, last - 1].filter(one => one > 0)) {
    const found = (await call("GET", `/v1/conversations/${conversation}/messages?page=${number}&page_size=100`)).data.find(one => one.run_id === article.dataset.run && one.role === "assistant");
    if (found) return article.dataset.message = found.id;
  }
  throw new Error(_("This answer is not among the conversation’s messages yet."));
}
async function fork(from, draft) {
  const body = from ? { from_message_id: from } : {};
  const made = (await call("POST", `/v1/conversations/${conversation}/fork`, body, { "Idempotency-Key": uuid() })).data;
  if (draft) store.set(`draft:${made.id}`, draft);
  location.href = `/console/chat/${made.id}`;
}
// The Markdown that the model wrote. The rendered text also contains buttons and names of languages.
async function source(article) {
  if (article.matches(".live")) return shown(article);
  const run = (await call("GET", `/v1/runs/${article.dataset.run}`)).data;
  return typeof run.output === "string" && run.output ? run.output : shown(article);
}
function shown(article) {
  const copy = $(".answer-body", article).cloneNode(true);
  $$(".code-head, .steps, .card", copy).forEach(one => one.remove());
  return $$(".block", copy).map(one => one.textContent.trim()).join("\n\n");
}
const actions = {
  "act-copy": (article, button) => copied(button, source(article)),
  "act-fork": async article => fork(await idOf(article)),
  "act-edit": async article => {
    const text = $(".said", article)?.textContent ?? "", all = $$(".message[data-message]", thread), at = all.indexOf(article);
    if (at > 0) { await fork(await idOf(all[at - 1]), text); return; }
    store.set("draft:", text); location.href = "/";
  },
  "act-regenerate": async article => {
    const answer = await call("POST", `/v1/conversations/${conversation}/regenerate`, { background: true, model_id: $("#model").value || undefined }, { "Idempotency-Key": uuid() });
    const fold = make("details", { class: "earlier", id: `earlier-${article.dataset.message ?? article.dataset.run}` }, make("summary", {}, _("Earlier answer")));
    article.replaceWith(fold); fold.append(article);
    open(answer.data.id);
  },
  "verify": article => verify(article),
  "show-steps": async (article, button) => {
    const changes = await call("GET", `/console/runs/${article.dataset.run}/answer`);
    const body = $(".answer-body", article);
    body.replaceChildren();
    const drawn = new Follower(article);
    changes.forEach(change => drawn.change(change));
    $$("details.steps", body).forEach(one => { one.open = true; });
    button.replaceWith($("details.steps", body) ? "" : make("span", { class: "quiet" }, _("No steps: the model answered at once.")));
  },
};
thread.addEventListener("click", async event => {
  const cite = event.target.closest(".cite[data-cite]");
  if (cite) { openSource(cite); return; }
  const worker = event.target.closest(".worker");
  if (worker) {
    const step = document.getElementById(worker.dataset.step);
    step.closest(".steps").open = step.open = true;
    $("summary", step).focus();
    return;
  }
  const earlier = event.target.closest(".load-earlier");
  if (earlier) { await loadEarlier(earlier); return; }
  const button = event.target.closest("button"), article = event.target.closest(".message");
  const action = button && [...button.classList].map(one => actions[one]).find(Boolean);
  if (!action || !article) return;
  button.disabled = true;
  try { await action(article, button); } catch (error) { say(error.message, true); }
  button.disabled = false;
});
// Keeps the scroll position: the message that was first stays where it is on the screen.
async function loadEarlier(button) {
  if (button.disabled) return;
  button.disabled = true;
  try {
    const { content } = await page(`/console/chat/${conversation}/thread?page=${button.dataset.page}`);
    const line = button.parentElement, first = line.nextElementSibling, before = first?.getBoundingClientRect().top ?? 0, focused = document.activeElement === button;
    const further = $(".load-earlier", content)?.parentElement, chunk = make("div", { class: "chunk" });
    if (further) line.before(further);
    chunk.append(content);
    times(chunk);
    line.replaceWith(chunk);
    if (first) scroller.scrollTop += first.getBoundingClientRect().top - before;
    near.observe(chunk);
    if (further) { nearTop.observe(further.firstElementChild); if (focused) further.firstElementChild.focus({ preventScroll: true }); }
  } catch (error) { button.disabled = false; say(error.message, true); }
}
const nearTop = new IntersectionObserver(seen => { for (const one of seen) if (one.isIntersecting) { nearTop.unobserve(one.target); loadEarlier(one.target); } }, { rootMargin: "2500px 0px 0px" });
// Messages that are far from the screen are removed from the page and replaced by an empty element of the same height,
// so that in a long conversation the browser lays out only the part around the screen.
const away = new WeakMap();
const near = new IntersectionObserver(seen => {
  for (const { target: chunk, isIntersecting, boundingClientRect } of seen) {
    const kept = away.get(chunk);
    if (isIntersecting && kept) { away.delete(chunk); chunk.style.height = ""; chunk.append(kept); }
    else if (!isIntersecting && !kept && !chunk.contains(document.activeElement) && !getSelection().containsNode(chunk, true)) {
      const leaving = document.createDocumentFragment();
      leaving.append(...chunk.childNodes);
      away.set(chunk, leaving);
      chunk.style.height = `${boundingClientRect.height}px`;
    }
  }
}, { rootMargin: "4000px 0px" });

// --- citations ------------------------------------------------------------------------------------------------------------------------------
const sources = $(".sources");
let cameFrom = null;
async function openSource(cite) {
  const article = cite.closest(".answer"), number = cite.dataset.cite;
  cameFrom = cite;
  try {
    const { content } = await page(`/console/runs/${article.dataset.run}/passages`);
    $(".sources-body").replaceChildren(content);
    if (!$(".passage", sources)) {
      const line = $$("p, li, .block", $(".answer-body", article)).reverse().find(one => one.textContent.includes(number) && /\n|Sources/.test(one.textContent));
      if (line) $(".sources-body").replaceChildren(make("blockquote", { class: "wrap" }, line.innerText));
    }
  } catch (error) { $(".sources-body").replaceChildren(make("p", { class: "problem" }, error.message)); }
  sources.hidden = false;
  chat.classList.add("with-sources");
  $$(".passage", sources).forEach(one => one.classList.toggle("chosen", one.dataset.number === number));
  $(".passage.chosen", sources)?.scrollIntoView({ block: "nearest" });
  $(".close", sources).focus();
}
function closeSources() { sources.hidden = true; chat.classList.remove("with-sources"); cameFrom?.focus(); }
$(".close", sources).addEventListener("click", closeSources);
document.addEventListener("keydown", event => { if (event.key === "Escape" && !sources.hidden) closeSources(); });

// --- questions and approvals ----------------------------------------------------------------------------------------------------------------
thread.addEventListener("submit", async event => {
  const form = event.target.closest(".answer-card");
  if (!form) return;
  event.preventDefault();
  const value = event.submitter?.value ?? "", feedback = $("[data-feedback]", form)?.value.trim();
  const data = { request_id: form.dataset.request };
  if (form.dataset.type === "approval") {
    data.approved = value === "yes";
    const params = {};
    for (const input of $$("input[name]", form)) if (input.value !== input.defaultValue) { try { params[input.name] = input.dataset.json ? JSON.parse(input.value) : input.value; } catch { $(".problem", form).textContent = _("{name} must be JSON.", { name: input.name }); input.focus(); return; } }
    if (data.approved && Object.keys(params).length) data.params = params;
    if (!data.approved && feedback) data.feedback = feedback;
  } else {
    data.feedback = value || feedback;
    if (!data.feedback) { $("[data-feedback]", form).focus(); return; }
  }
  $$("button", form).forEach(one => { one.disabled = true; });
  try {
    await call("POST", `/v1/runs/${form.dataset.run}/input`, { type: form.dataset.type, data });
    form.replaceWith(make("p", { class: "outcome", role: "status" }, form.dataset.type === "approval" ? (data.approved ? _("You approved.") : _("You declined.")) : _("You answered: {answer}", { answer: data.feedback })));
    field.focus();
  } catch (error) {
    $(".problem", form).textContent = error.message;
    $$("button", form).forEach(one => { one.disabled = false; });
  }
});

// --- pins: at the top of the list, for everybody who sees the conversation ------------------------------------------------------------------
const pinButton = $(".act-pin");
function shownPinned(pinned) {
  pinButton.setAttribute("aria-pressed", pinned);
  pinButton.textContent = pinned ? _("Unpin") : _("Pin");
}
async function pin(id, pinned, again) {
  try { await call("PATCH", `/v1/conversations/${id}`, { pinned }); } catch (error) { say(error.message, true); return; }
  if (id === conversation) shownPinned(pinned);
  await talks();
  again()?.focus();
}
pinButton.addEventListener("click", () => pin(conversation, pinButton.getAttribute("aria-pressed") !== "true", () => pinButton));
$("#side").addEventListener("click", event => {
  const button = event.target.closest("[data-pin]"), id = button?.dataset.pin;
  if (button) pin(id, button.getAttribute("aria-pressed") !== "true", () => $(`[data-pin="${CSS.escape(id)}"]`));
});

// --- the conversation itself ------------------------------------------------------------------------------------------------------------------
$(".rename").addEventListener("click", event => {
  if (!conversation) return;
  const button = event.target, before = button.textContent, input = make("input", { class: "renaming", value: before, maxlength: 300, "aria-label": _("Title") });
  const done = async keep => {
    input.onblur = null;
    input.replaceWith(button);
    const title = input.value.trim();
    if (keep && title && title !== before) { try { await call("PATCH", `/v1/conversations/${conversation}`, { title }); name(title); talks(); } catch (error) { say(error.message, true); } }
    button.focus();
  };
  input.onkeydown = press => { if (press.key === "Enter") { if (!composes(press)) done(true); } else if (press.key === "Escape") { press.stopPropagation(); done(false); } };
  input.onblur = () => done(true);
  button.replaceWith(input);
  input.focus(); input.select();
});
$(".act-delete").addEventListener("click", async () => {
  if (!await confirmed($("#delete-talk"))) return;
  try { location.href = `/console/deletions/${(await call("DELETE", `/v1/conversations/${conversation}`)).deletion_id}`; } catch (error) { say(error.message, true); }
});
$$("[name=base]").forEach(one => one.addEventListener("change", async () => {
  const bases = chosenBases();
  $("[data-bases]").textContent = bases.length || "";
  if (!conversation) return;
  try {
    const now = (await call("GET", `/v1/conversations/${conversation}`)).data.agent ?? {};
    const { knowledge_bases: _gone, ...rest } = now, next = bases.length ? { ...rest, knowledge_bases: bases } : rest;
    await call("PATCH", `/v1/conversations/${conversation}`, { agent: Object.keys(next).length ? next : null });
  } catch (error) { say(error.message, true); }
}));

if (store.get("gone")) { store.set("gone", null); say(_("That conversation was deleted."), true); }
const kept = store.get(draftKey()) ?? "";
direct(kept); field.value = kept; grow();
for (const article of $$(".answer.live", thread)) follow(article);
busy();
endOfThread();
if ($(".load-earlier", thread)) requestAnimationFrame(() => nearTop.observe($(".load-earlier", thread)));
retry();
