// Code of every page: translations, times, theme, keyboard, dialogs, tabs, copying, and calls of the API.

const catalogue = JSON.parse(document.getElementById("words")?.textContent || "{}");
export const _ = (text, values = {}) => (catalogue[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

// The only Trusted Types policy: only HTML that this server has rendered and sanitised is inserted.
const policy = globalThis.trustedTypes?.createPolicy("stoa", { createHTML: html => html }) ?? { createHTML: html => html };
export function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = policy.createHTML(html);
  worded(template.content);
  return template.content;
}
// Blocks of code are rendered without knowing the page's language.
function worded(root) { if (catalogue.Copy) for (const one of root.querySelectorAll(".code-head .copy")) one.textContent = catalogue.Copy; }
worded(document);
export const language = document.documentElement.lang;
export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
const remember = (key, value) => { try { value ? localStorage.setItem(key, value) : localStorage.removeItem(key); } catch { /* a private window */ } };
export const remembered = key => { try { return localStorage.getItem(key) ?? ""; } catch { return ""; } };

// --- calls ------------------------------------------------------------------------------------------------------------
export class Refusal extends Error {
  constructor(status, error, requestId) {
    super(error?.message ?? _("The server did not answer as expected (status {status}).", { status }));
    this.status = status; this.code = error?.code; this.details = error?.details; this.requestId = requestId;
  }
}
// The sign-in page must explain why it appears: without the cookie the server cannot tell this from a first visit.
function signIn() {
  try { sessionStorage.setItem("ended", "1"); } catch { /* full, or forbidden */ }
  location.reload();
}
export async function call(method, path, body, headers = {}) {
  const response = await fetch(path, {
    method, headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) signIn();
  if (!response.ok) throw new Refusal(response.status, answer.error, response.headers.get("x-request-id"));
  return answer;
}
export async function page(path) {
  const response = await fetch(path, { headers: { Accept: "text/html" } });
  if (response.status === 401) signIn();
  if (!response.ok) throw new Refusal(response.status, null, response.headers.get("x-request-id"));
  return { content: fragment(await response.text()), headers: response.headers };
}
export const uuid = () => crypto.randomUUID?.() ?? "10000000-1000-4000-8000-100000000000".replace(/[018]/g, digit =>
  (digit ^ crypto.getRandomValues(new Uint8Array(1))[0] & 15 >> digit / 4).toString(16));
export function say(text, bad = false) {
  const toast = make("p", { class: bad ? "toast bad" : "toast" }, text);
  $(".toasts")?.append(toast);
  setTimeout(() => toast.remove(), bad ? 9000 : 4000);
}

// --- times ------------------------------------------------------------------------------------------------------------
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const exact = new Intl.DateTimeFormat(language, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
const day = new Intl.DateTimeFormat(language, { year: "numeric", month: "short", day: "numeric" });
// How far the clock of this machine is from the server's. Less than a minute may be the way here.
const ahead = Date.now() - (Number(document.documentElement.dataset.now) || Date.now()), skew = Math.abs(ahead) < 60000 ? 0 : ahead;
export function times(root = document) {
  for (const element of $$("time[datetime]", root)) {
    const date = new Date(element.dateTime), seconds = (date - Date.now() + skew) / 1000, far = Math.abs(seconds);
    const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]].find(([, size]) => far >= size) ?? ["second", 1];
    element.textContent = far < 45 ? _("just now") : far > 14 * 86400 ? day.format(date) : relative.format(Math.round(seconds / size), unit);
    element.title = exact.format(date);
  }
}
times();
setInterval(times, 30000);

// --- theme and language -------------------------------------------------------------------------------------------------
const theme = $("#theme");
const paint = value => value ? document.documentElement.dataset.theme = value : delete document.documentElement.dataset.theme;
paint(remembered("stoa-theme"));
if (theme) {
  theme.value = remembered("stoa-theme");
  theme.addEventListener("change", () => { remember("stoa-theme", theme.value); paint(theme.value); });
}
const reading = $("#reading");
if (reading) {
  reading.value = remembered("stoa-reading");
  reading.addEventListener("change", () => remember("stoa-reading", reading.value));
}
$("#language")?.addEventListener("change", event => {
  document.cookie = `stoa-language=${event.target.value};path=/;max-age=31536000;samesite=lax`;
  location.reload();
});

// --- menus, dialogs, tabs ------------------------------------------------------------------------------------------------
const menu = $(".menu"), side = $("#side");
function sheet(open) {
  document.body.classList.toggle("side-open", open);
  menu?.setAttribute("aria-expanded", open);
  if (open) $("a", side)?.focus(); else if (side?.contains(document.activeElement)) menu?.focus();
}
menu?.addEventListener("click", () => sheet(!document.body.classList.contains("side-open")));
document.addEventListener("click", event => {
  for (const open of $$("details.person[open], details.bases[open]")) if (!open.contains(event.target)) open.open = false;
  if (document.body.classList.contains("side-open") && !event.target.closest("#side, .menu")) sheet(false);
  const opener = event.target.closest("[data-open]");
  if (opener) $(`#${opener.dataset.open}`)?.showModal();
  const copy = event.target.closest(".copy");
  if (copy) copied(copy, copy.closest(".code").querySelector("code").textContent);
  const tab = event.target.closest("[role=tab]");
  if (tab) select(tab);
});
// `text` may be a promise. Safari allows copying only in the click handler, so the promise goes to the clipboard API.
export async function copied(button, text) {
  try {
    if (typeof text === "string") await navigator.clipboard.writeText(text);
    else await navigator.clipboard.write([new ClipboardItem({ "text/plain": text.then(found => new Blob([found], { type: "text/plain" })) })]);
  } catch (error) { say(error instanceof Refusal ? error.message : _("The browser did not allow copying."), true); return; }
  const before = button.textContent;
  button.textContent = _("Copied");
  setTimeout(() => { button.textContent = before; }, 1500);
}
function select(tab) {
  for (const other of $$("[role=tab]", tab.parentElement)) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", chosen);
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  tab.focus();
}

// An Enter that ends the composition of Japanese, Chinese or Korean text confirms it and does nothing else. Safari reports
// it after the composition, with key code 229.
export const composes = event => event.isComposing || event.keyCode === 229;

// --- keyboard -------------------------------------------------------------------------------------------------------------
const goals = { n: "/", c: "/console/conversations", k: "/console/knowledge", r: "/console/runs", o: "/console/overview", a: "/console/apps", t: "/console/tools", u: "/console/usage" };
let going = 0;
document.addEventListener("keydown", event => {
  const tab = event.target.closest?.("[role=tab]");
  if (tab && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
    const all = $$("[role=tab]", tab.parentElement), step = event.key === "ArrowRight" ? 1 : -1;
    select(all[(all.indexOf(tab) + step + all.length) % all.length]);
    return;
  }
  if (event.key === "Escape") {
    const open = $("details.person[open], details.bases[open]");
    if (open) { open.open = false; $("summary", open).focus(); event.preventDefault(); }
    else if (document.body.classList.contains("side-open")) sheet(false);
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
  if (event.target.matches?.("input, textarea, select, [contenteditable]")) return;
  if (event.key === "/") { event.preventDefault(); $("#search")?.focus(); $("#search")?.select(); }
  else if (event.key === "?") $("#keyboard")?.showModal();
  else if (event.key === "g") going = Date.now();
  else if (Date.now() - going < 1500 && goals[event.key]) location.href = goals[event.key];
});

// --- a confirmation that is typed -------------------------------------------------------------------------------------------
export function confirmed(dialog) {
  return new Promise(resolve => {
    const word = $("[data-word]", dialog), button = $("button.danger", dialog);
    const check = () => { button.disabled = word.value.trim() !== word.dataset.word; };
    word.value = ""; check();
    word.oninput = check;
    word.onkeydown = event => { if (event.key === "Enter" && !composes(event)) { event.preventDefault(); if (!button.disabled) dialog.close("delete"); } };
    dialog.onclose = () => resolve(dialog.returnValue === "delete");
    dialog.returnValue = "";
    dialog.showModal();
  });
}

// --- a dialog's form that calls the API; a confirmation by a name ----------------------------------------------------------
export function form(name, send) {
  const element = $(name);
  element?.addEventListener("submit", async event => {
    event.preventDefault();
    try { await send(new FormData(element)); } catch (error) { $(".problem", element).textContent = error.message; }
  });
  $(".cancel", element ?? document)?.addEventListener("click", () => element.closest("dialog").close());
}
export function ask(dialog, word) {
  const field = $("[data-word]", dialog);
  field.dataset.word = word;
  $(`label[for=${field.id}]`).textContent = _("Type “{word}” to confirm", { word });
  return confirmed(dialog);
}


// --- a token in a link's fragment: browsers do not send it, so it is in no log ------------------------------------------------
const carried = $("form[data-carries]");
if (carried && location.hash.startsWith(`#${carried.dataset.carries}`)) {
  carried.elements.token.value = location.hash.slice(1);
  $(".carried", carried).hidden = true;
  history.replaceState(null, "", location.pathname);
}
const entry = $("#sign-in");
try {
  if (entry && sessionStorage.getItem("ended") && !$(".sign-in .notice")) $(".sign-in h1").after(make("p", { class: "notice info", role: "status" }, _("Your session has ended. Sign in to go on; what you have typed into the chat is kept.")));
  sessionStorage.removeItem("ended");
} catch { /* forbidden */ }
if (entry && location.hash.startsWith("#stoa_lnk_")) {
  entry.elements.link.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  entry.submit();
}
