// The connect page. It reads its token from the URL's fragment, removes it from the URL at once, and keeps it for this
// tab only.

const KEY = "stoa-connect", said = document.querySelector("#said"), offers = document.querySelector("#offers");

function token() {
  const given = location.hash.slice(1), result = new URLSearchParams(location.search).get("result");
  if (given) sessionStorage.setItem(KEY, given);
  if (given || result) history.replaceState(null, "", location.pathname);
  if (result === "connected") said.textContent = "Connected. Thank you.";
  if (result === "failed") said.textContent = "That did not work: the service did not confirm it. Please try again.";
  return sessionStorage.getItem(KEY);
}
async function call(method, path, body) {
  const headers = { Authorization: `Bearer ${held}` };
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(`/v1/connect/requirements${path}`, { method, headers, body: body && JSON.stringify(body) });
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(value.error?.message ?? `The server answered ${answer.status}.`);
  return value;
}
function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}
function form(offer, done) {
  const oauth = offer.spec.type === "oauth2", fields = oauth ? [] : offer.spec.data.fields ?? ["api_key"];
  const problem = make("p", { className: "problem" }), button = make("button", { type: "submit", textContent: done ? "Replace" : "Connect" });
  const element = make("form", { autocomplete: "off" });
  problem.setAttribute("role", "alert");
  for (const name of fields) {
    const id = `${offer.id}-${name}`;
    element.append(
      make("label", { htmlFor: id, textContent: name.replaceAll("_", " ") }),
      make("input", { id, name, type: "password", required: true, autocomplete: "off", spellcheck: false }),
    );
  }
  element.append(problem, button);
  button.setAttribute("aria-describedby", `title-${offer.id}`);
  element.addEventListener("submit", async event => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      if (oauth) {
        location.assign((await call("POST", `/${offer.id}/oauth2/authorize`)).data.url);
        return;
      }
      const config = Object.fromEntries(fields.map(name => [name, element.elements.namedItem(name).value]));
      await call("POST", `/${offer.id}/credentials`, { type: offer.spec.type, config });
      said.textContent = `${offer.title}: connected.`;
      await show();
    } catch (error) { problem.textContent = error.message; button.disabled = false; }
  });
  return element;
}
async function show() {
  const [listed, statuses] = await Promise.all([call("GET", ""), call("GET", "/status")]);
  const state = new Map(statuses.data.map(one => [one.id, one.status]));
  offers.replaceChildren(...listed.data.map(offer => {
    const done = state.get(offer.id) === "completed", item = make("li", { className: done ? "completed" : "pending" });
    item.append(make("h2", { id: `title-${offer.id}`, textContent: offer.title }));
    if (offer.description) item.append(make("p", { className: "quiet", textContent: offer.description }));
    item.append(make("p", { className: "state", textContent: done ? "Connected" : "Not connected yet" }));
    item.append(offer.type === "connection" ? form(offer, done) : make("p", { textContent: "This account cannot be connected here." }));
    return item;
  }));
  if (!listed.data.length) said.textContent = "There is nothing to connect.";
}

const held = token();
if (held) show().catch(error => { said.textContent = error.message; });
else said.textContent = "This page is opened by a link that the app gives you.";
