// Members, invitations and personal access tokens.

import { $, $$, _, ask, call, form, say, uuid } from "./frame.js";

const org = $("[data-org]")?.dataset.org, members = `/v1/orgs/${org}/members`, invitations = `/v1/orgs/${org}/invitations`;
function shown(dialog, text) {
  const made = $(dialog);
  $("code", made).textContent = text;
  made.onclose = () => location.reload();
  made.showModal();
}
function invited(made) {
  if (made.token) shown("#made-invitation", `${location.origin}/console/invitation#${made.token}`);
  else location.reload();
}
form("#invite", async data => {
  const made = (await call("POST", invitations, { email: data.get("email"), role: data.get("role") }, { "Idempotency-Key": uuid() })).data;
  $("#new-member").close();
  invited(made);
});
form("#create-token", async data => {
  const body = { name: data.get("name") }, days = Number(data.get("days"));
  if (days) body.expires_at = new Date(Date.now() + days * 86400000).toISOString();
  const made = (await call("POST", "/v1/personal-access-tokens", body, { "Idempotency-Key": uuid() })).data;
  $("#new-token").close();
  shown("#made-token", made.key);
});
for (const role of $$("select.role")) {
  const before = role.value;
  role.addEventListener("change", async () => {
    const { member, name } = role.closest("tr").dataset;
    try {
      await call("PUT", `${members}/${member}`, { role: role.value });
      say(_("{name} has another role now.", { name }));
    } catch (error) { role.value = before; say(error.message, true); }
  });
}
document.addEventListener("click", async event => {
  const pressed = name => event.target.closest(name)?.closest("tr").dataset;
  try {
    let row;
    if (row = pressed(".remove")) {
      if (!await ask($("#remove-member"), row.name)) return;
      await call("DELETE", `${members}/${row.member}`);
    } else if (row = pressed(".revoke-token")) {
      if (!await ask($("#revoke-token"), row.name)) return;
      await call("DELETE", `/v1/personal-access-tokens/${row.token}`);
    } else if (row = pressed(".resend")) {
      const made = (await call("POST", `${invitations}/${row.invitation}/resend`)).data;
      if (made.token) { invited(made); return; }
      say(_("A mail was sent to {name}.", { name: row.name }));
      return;
    } else if (row = pressed(".withdraw")) await call("DELETE", `${invitations}/${row.invitation}`);
    else return;
    location.reload();
  } catch (error) { say(error.message, true); }
});
