"""`stoa triggers`: triggers, which start runs of apps, over the server's public HTTP API."""

import json
from typing import Annotated, Any

import typer

from stoa.cli.apps import Project, app_id_of
from stoa.cli.asking import (
    HERE,
    All,
    Exit,
    Json,
    Key,
    Limit,
    Url,
    Yes,
    ask,
    ask_all,
    confirm,
    create,
    fail,
    id_of,
    out,
    print_json,
)
from stoa.cli.tables import Columns, show_list, show_one
from stoa.cli.text import one_line

app = typer.Typer(no_args_is_help=True, help="Triggers: schedules and webhooks that start runs of an app.")
App = Annotated[str, typer.Argument(help="The app's id, or its name where only one has it.")]
Trigger = Annotated[str, typer.Argument(help="The trigger's id, or its name where only one has it.")]


@app.command("list")
def list_triggers(name: App, project: Project = None, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List an app's triggers."""
    columns: Columns = {
        "id": "id",
        "name": "name",
        "provider": "provider",
        "status": "status",
        "when": lambda one: one["config"].get("schedule") or one["config"].get("run_at") or "",
        "next": "next_at",
        "problem": "problem.message",
    }
    found = ask_all(url, key, f"/v1/apps/{app_id_of(url, key, name, project)}/triggers")
    show_list(found, columns, as_json=as_json, nothing="There are none. Make one with: stoa triggers create")


@app.command("show")
def show(
    name: App, trigger: Trigger, project: Project = None, as_json: Json = False, url: Url = HERE, key: Key = None
) -> None:
    """Show a trigger."""
    found = ask("GET", url, key, _path(url, key, name, trigger, project))["data"]
    plain = [field for field, value in found.items() if not isinstance(value, dict | list)]
    show_one(found, as_json=as_json, fields=[*plain, "config", "input_transformer", "problem.message"])


@app.command("create")
def create_trigger(
    name: App,
    called: Annotated[str, typer.Argument(help="The trigger's name.", metavar="TRIGGER")],
    schedule: Annotated[str | None, typer.Option(help="Five fields of cron. Without it: a webhook.")] = None,
    timezone: Annotated[str, typer.Option(help="Of the schedule, as the IANA names it.")] = "UTC",
    text: Annotated[str | None, typer.Option("--input", help="The input of its runs. \\[default: the payload]")] = None,
    activate: Annotated[bool, typer.Option("--activate", help="Let it fire from now on.")] = False,
    project: Project = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make a trigger, inactive. The URL of a webhook is shown this once.

    [dim]Examples:[/]

        stoa triggers create report nightly --schedule "0 6 * * *" --timezone Europe/Vienna --activate
        stoa triggers create report deliveries
    """
    path = f"/v1/apps/{app_id_of(url, key, name, project)}/triggers"
    config: dict[str, Any] = {"schedule": schedule, "timezone": timezone} if schedule else {}
    body: dict[str, Any] = {"name": called, "provider": "schedule" if schedule else "webhook", "config": config}
    if text is not None:
        body["input_transformer"] = {"selector": {"input": text}}
    made = create(url, key, path, body)
    if activate:
        made |= ask("POST", url, key, f"{path}/{made['id']}/activate")["data"]
    if as_json:
        print_json(made)
        return
    out.print(made["id"], markup=False)
    if made.get("webhook_url"):
        out.print(f"POST to {made['webhook_url']} (secret, and shown this once)", markup=False)


@app.command("next")
def preview(
    name: App,
    trigger: Trigger,
    count: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 10,
    project: Project = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Show the next due times of a schedule, across shifts of daylight saving."""
    found = ask("GET", url, key, f"{_path(url, key, name, trigger, project)}/next?count={count}")["data"]
    show_list(found, {"at": "at", "local": "local_time"}, as_json=as_json, nothing="It is never due again.")


@app.command("events")
def events(
    name: App,
    trigger: Trigger,
    limit: Limit = 25,
    everything: All = False,
    project: Project = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """List what a trigger has started, or why it did not."""
    columns: Columns = {
        "received": "received_at",
        "source": "source",
        "status": "status",
        "due": "due_at",
        "run": "run_id",
        "payload": lambda one: one_line(json.dumps(one["payload"], ensure_ascii=False)),
        "error": lambda one: one_line(one.get("error", {}).get("message", "")),
    }
    path = f"{_path(url, key, name, trigger, project)}/events"
    found = ask_all(url, key, path, None if everything else limit)
    show_list(found, columns, as_json=as_json, nothing="It has not fired yet.")


@app.command("activate")
def activate(name: App, trigger: Trigger, project: Project = None, url: Url = HERE, key: Key = None) -> None:
    """Let a trigger fire from now on, in your name."""
    ask("POST", url, key, f"{_path(url, key, name, trigger, project)}/activate")
    out.print("active", markup=False)


@app.command("deactivate")
def deactivate(name: App, trigger: Trigger, project: Project = None, url: Url = HERE, key: Key = None) -> None:
    """Let a trigger fire no more; what waits to begin does not."""
    ask("POST", url, key, f"{_path(url, key, name, trigger, project)}/deactivate")
    out.print("inactive", markup=False)


@app.command("run")
def run(
    name: App, trigger: Trigger, project: Project = None, as_json: Json = False, url: Url = HERE, key: Key = None
) -> None:
    """Fire an active trigger now, once."""
    fired = create(url, key, f"{_path(url, key, name, trigger, project)}/run", {})
    if as_json:
        print_json(fired)
    else:
        out.print(f"{fired['id']}  {fired['status']}", markup=False)


@app.command("renew-url")
def renew_url(name: App, trigger: Trigger, project: Project = None, url: Url = HERE, key: Key = None) -> None:
    """Give a webhook another URL; the old one stops at once."""
    made = ask("POST", url, key, f"{_path(url, key, name, trigger, project)}/renew-url")["data"]
    out.print(made["webhook_url"], markup=False)


@app.command("delete")
def delete(
    name: App, trigger: Trigger, project: Project = None, yes: Yes = False, url: Url = HERE, key: Key = None
) -> None:
    """Delete a trigger with its log. Its runs stay."""
    path = _path(url, key, name, trigger, project)
    confirm(f"Delete the trigger {trigger}?", yes=yes)
    ask("DELETE", url, key, path)
    out.print("deleted", markup=False)


def _path(url: str | None, key: str | None, name: str, trigger: str, project: str | None) -> str:
    if not trigger.strip():
        raise fail("Name a trigger; stoa triggers list shows them.", Exit.USED_WRONGLY)
    path = f"/v1/apps/{app_id_of(url, key, name, project)}/triggers"
    return f"{path}/{id_of(trigger, 'trigger', lambda: ask_all(url, key, path))}"
