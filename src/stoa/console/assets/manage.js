// Keys and connections: creating them, and deleting them after their name was typed.

import { $, _, ask, call, form, make, say, uuid } from "./frame.js";

form("#create-key", async data => {
  const body = { name: data.get("name") };
  if (data.get("project_id")) body.project_id = data.get("project_id");
  if (data.getAll("permissions").length) body.permissions = data.getAll("permissions");
  if (data.get("rate_limit")) body.rate_limit = Number(data.get("rate_limit"));
  if (data.get("spending")) body.spending_limit = { usd: Number(data.get("spending")), period: "month" };
  shown((await call("POST", "/v1/access-keys", body, { "Idempotency-Key": uuid() })).data);
});
let rotated = null;
form("#rotate-key form", async data => {
  shown((await call("POST", `/v1/access-keys/${rotated}/rotate`, { overlap_seconds: Number(data.get("overlap_seconds")) }, { "Idempotency-Key": uuid() })).data);
});
function shown(made) {
  const dialog = $("#made-key");
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
  $("code", dialog).textContent = made.key;
  dialog.onclose = () => location.reload();
  dialog.showModal();
}
form("#create-connection", async data => {
  const config = {};
  for (const name of ["base_url", "api_key"]) if (data.get(name)) config[name] = data.get(name);
  await call("POST", "/v1/connections", { name: data.get("name"), type: data.get("type"), config }, { "Idempotency-Key": uuid() });
  location.reload();
});
$("#connection-type")?.addEventListener("change", event => {
  const chosen = event.target.selectedOptions[0], name = $("#connection-name");
  $("#connection-url").placeholder = chosen.dataset.address;
  if (!name.value || [...event.target.options].some(one => one.value === name.value)) name.value = chosen.value;
});
document.addEventListener("click", async event => {
  const revoke = event.target.closest(".revoke"), disconnect = event.target.closest(".disconnect");
  const rotate = event.target.closest(".rotate");
  if (rotate) { rotated = rotate.closest("tr").dataset.key; $("#rotate-key").showModal(); return; }
  try {
    if (revoke) {
      const { key, name } = revoke.closest("tr").dataset, dialog = $("#revoke-key");
      const all = (await call("DELETE", `/v1/access-keys/${key}?cascade=true&dry_run=true`)).would_revoke, children = all.filter(one => one.id !== key);
      $(".what", dialog).textContent = children.length
        ? _("Programs and sessions that use it stop at once, and so do the {number} keys that were made with it:", { number: children.length })
        : _("Programs and sessions that use it stop at once. It made no other keys.");
      $(".also", dialog).replaceChildren(...children.map(one => make("li", {}, `${one.name} (${one.preview})`)));
      if (!await ask(dialog, name)) return;
      await call("DELETE", `/v1/access-keys/${key}?cascade=true`);
      location.reload();
    }
    if (disconnect) {
      const { connection, name } = disconnect.closest("tr").dataset;
      if (!await ask($("#disconnect"), name)) return;
      await call("DELETE", `/v1/connections/${connection}`);
      location.reload();
    }
  } catch (error) { say(error.message, true); }
});
