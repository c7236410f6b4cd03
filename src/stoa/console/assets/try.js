// Trying a flow: a real run, followed by its events; nodes of the graph get the colour of their state.

import { $, $$, Refusal, _, language, make, uuid } from "./frame.js";
import { gathered } from "./actions.js";

const form = $("#try"), out = $(".try-out"), steps = $(".try-steps"), text = $(".try-text"), line = $(".try-line");
const LINES_MAX = 400;
const EVENTS = ["workflow.node.started", "workflow.node.completed", "workflow.node.failed", "workflow.node.skipped", "agent.response.delta", "agent.tool_call.started",
  "run.recovered", "run.paused", "run.completed", "run.failed", "run.canceled"];
const number = new Intl.NumberFormat(language);
let source = null, run = null, begun = 0;

const WORDS = { started: _("running"), completed: _("done"), failed: _("failed"), skipped: _("skipped") };
function node(data, state) {
  for (const box of $$(`.graph [data-node="${CSS.escape(data.id)}"]`)) { box.classList.remove("is-started", "is-completed", "is-failed", "is-skipped"); box.classList.add(`is-${state}`); }
  let step = steps.querySelector(`[data-node="${CSS.escape(data.id)}"]`);
  if (!step) { step = make("li", { "data-node": data.id }, make("b", {}, data.name || data.id), make("span", { class: "quiet" })); steps.append(step); }
  step.className = `is-${state}`;
  $("span", step).textContent = `${WORDS[state]}${data.error?.message ? `: ${data.error.message}` : data.reason ? `: ${data.reason}` : ""}`;
}
function took() { return _("{seconds} s", { seconds: number.format(Math.round((performance.now() - begun) / 100) / 10) }); }
function take({ type, data }) {
  if (type.startsWith("workflow.node.")) node(data, type.slice(14));
  else if (type === "agent.response.delta") text.append(data.delta);
  else if (type === "agent.tool_call.started") note(_("Calls {name}", { name: data.tool.name }));
  else if (type === "run.recovered") text.textContent = "";
  else if (type === "run.paused") { line.replaceChildren(_("Waits for a person."), " ", make("a", { href: `/console/runs/${run}` }, _("Answer it"))); }
  else if (["run.completed", "run.failed", "run.canceled"].includes(type)) end(type.slice(4), data);
}
function note(words) { if (steps.childElementCount < LINES_MAX) steps.append(make("li", { class: "is-started" }, make("b", {}, words))); }
async function end(state, data) {
  source?.close(); source = null;
  out.removeAttribute("aria-busy"); form.classList.remove("busy");
  const usage = data.usage ?? {}, tokens = (usage.prompt_tokens ?? 0) + (usage.completion_tokens ?? 0);
  line.replaceChildren(
    make("span", { class: state === "completed" ? "good" : "bad" }, { completed: _("Completed"), failed: _("Failed"), canceled: _("Canceled") }[state]), ` · ${took()}`,
    tokens ? ` · ${_("{number} tokens", { number: number.format(tokens) })}` : "", " · ", make("a", { href: `/console/runs/${run}` }, _("Open the run")));
  if (data.error) text.replaceChildren(make("p", { class: "problem" }, data.error.message));
  else if (data.result && typeof data.result === "object") text.replaceChildren(make("pre", { class: "plain wrap", tabindex: "0" }, JSON.stringify(data.result, null, 2)));
  else if (!text.textContent && data.output) text.textContent = data.output;
  line.focus();
}
function follow() {
  source = new EventSource(`/v1/runs/${run}/stream`);
  const heard = event => { if (event.data) take(JSON.parse(event.data)); };
  for (const name of EVENTS) source.addEventListener(name, heard);
  source.onerror = () => { if (source) line.textContent = _("The connection is lost; the run goes on, and this page catches up."); };
  source.onopen = () => { if (source) line.textContent = _("Running"); };
}
form?.addEventListener("submit", async event => {
  event.preventDefault();
  const problem = $(".problem", form);
  problem.textContent = ""; source?.close();
  for (const box of $$(".graph [data-node]")) box.classList.remove("is-started", "is-completed", "is-failed", "is-skipped");
  steps.replaceChildren(); text.replaceChildren(); out.hidden = false; out.setAttribute("aria-busy", "true"); form.classList.add("busy");
  line.textContent = _("Starting"); begun = performance.now();
  try {
    const body = { flow: JSON.parse($("#flow").textContent), ...gathered(form), stream: true, ...(form.dataset.project ? { project_id: form.dataset.project } : {}) };
    const stop = new AbortController();
    const answer = await fetch("/v1/workflows/test", { method: "POST", signal: stop.signal, headers: { "Content-Type": "application/json", "Idempotency-Key": uuid() }, body: JSON.stringify(body) });
    if (!answer.ok) throw new Refusal(answer.status, (await answer.json().catch(() => ({}))).error);
    run = answer.headers.get("Stoa-Run-Id");
    stop.abort(); // The run continues; follow() resumes its stream.
    follow();
  } catch (error) {
    out.hidden = true; out.removeAttribute("aria-busy"); form.classList.remove("busy");
    problem.textContent = error.message;
  }
});
$(".try-stop")?.addEventListener("click", () => { if (run) fetch(`/v1/runs/${run}/cancel`, { method: "POST" }); });
