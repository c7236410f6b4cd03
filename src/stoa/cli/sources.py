"""`stoa kb sources`: sources that fill a knowledge base automatically, over the server's public HTTP API."""

import json
import os
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from stoa.cli.asking import (
    HERE,
    Base,
    Json,
    Key,
    Url,
    Yes,
    ask,
    ask_all,
    bar,
    base_id_of,
    confirm,
    errors,
    fail,
    out,
    print_json,
    source_id_of,
)
from stoa.cli.asking import create as make
from stoa.cli.asking import deleted as delete_for_good
from stoa.cli.tables import Columns, print_table, show_list

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Fill a knowledge base from a website, a directory of the server, an S3 bucket or a git repository.

    What changes there is followed at each sync: on a schedule, or when you say so.

        stoa kb sources create Manuals website https://docs.example.com/
        stoa kb sources sync Manuals
        stoa kb sources list Manuals

    docs/guide/sources.md tells the whole of it.""",
)


class Provider(StrEnum):
    website = "website"
    directory = "directory"
    s3 = "s3"
    git = "git"


Source = Annotated[str, typer.Argument(help="The source: its id, or its name where only one of the base has it.")]
_PLACE: Final = {"website": "url", "directory": "path", "s3": "bucket", "git": "url"}
_COUNTS: Final = ("added", "updated", "unchanged", "skipped", "deleted", "failed")
FAILURES_SHOWN: Final = 20
LOOK_SECONDS: Final = 0.5


Place = Annotated[
    str,
    typer.Argument(
        help="The URL of a website or repository, the path of a directory, or a bucket (with a prefix: bucket/2026/)."
    ),
]
Name = Annotated[str | None, typer.Option(help="What to call it. \\[default: the place]", show_default=False)]
Schedule = Annotated[
    str | None,
    typer.Option(
        help="An interval (15m, 6h, 1d), or cron in quotes. Left out: only `sync` begins one.", show_default=False
    ),
]
Timezone = Annotated[
    str | None, typer.Option(help="Of cron, such as Europe/Berlin. \\[default: UTC]", show_default=False)
]
Include = Annotated[
    list[str] | None,
    typer.Option(help="A path pattern as in .gitignore: only what matches. Repeat it.", show_default=False),
]
Exclude = Annotated[
    list[str] | None, typer.Option(help="A path pattern: not what matches. Repeat it.", show_default=False)
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(help="field=value, given to every item, to filter by: team=sales. Repeat it.", show_default=False),
]
Secret = Annotated[
    list[str] | None,
    typer.Option(
        help="The name of a secret: token or username (git), access_key_id or secret_access_key (s3), authorization "
        "(website). Its value is taken from STOA_SECRET_NAME in the environment, or asked for. Repeat it.",
        show_default=False,
    ),
]
Config = Annotated[
    list[str] | None,
    typer.Option(
        help="field=value of the provider: depth_max, pages_max, hosts, sitemap (website), branch (git), region, "
        "endpoint (s3), hidden … A value is JSON, or else text. Repeat it.",
        show_default=False,
    ),
]


@app.command("create")
def create(
    base: Base,
    provider: Annotated[Provider, typer.Argument(help="What kind of place it is.")],
    place: Place,
    name: Name = None,
    schedule: Schedule = None,
    timezone: Timezone = None,
    include: Include = None,
    exclude: Exclude = None,
    metadata: Metadata = None,
    secret: Secret = None,
    config: Config = None,
    wait: Annotated[bool, typer.Option("--wait", help="Begin a sync now, and wait for it.")] = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make a source and print its id. Nothing is fetched yet, unless the schedule is an interval, or with --wait.

    [dim]Example:[/] stoa kb sources create Manuals website https://docs.example.com/ --exclude blog/ --wait
    """
    base_id = base_id_of(url, key, base)
    body: dict[str, Any] = {
        "name": name or place,
        "provider": provider.value,
        "config": _config(provider, place, include, exclude, config),
    }
    body |= {field: value for field, value in {"schedule": schedule, "timezone": timezone}.items() if value}
    if metadata:
        body["metadata"] = dict(_field(one) for one in metadata)
    if secret:
        body["secrets"] = {
            one: os.environ.get(f"STOA_SECRET_{one.upper()}") or typer.prompt(one, hide_input=True, err=True)
            for one in secret
        }
    made = make(url, key, f"/v1/knowledgebases/{base_id}/sources", body)
    out.print(made["id"], markup=False)
    if wait:
        _sync(url, key, [made], confirm_deletions=False, wait=True)


@app.command("list")
def list_sources(base: Base, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List a knowledge base's sources, and how the last sync of each went."""
    columns: Columns = {
        "id": "id",
        "name": "name",
        "provider": "provider",
        "place": lambda one: one["config"][_PLACE[one["provider"]]],
        "schedule": "schedule",
        "items": "item_count",
        "sync": lambda one: one.get("sync", {"status": "never"})["status"],
        "ended": "sync.ended_at",
    }
    found = ask_all(url, key, f"/v1/knowledgebases/{base_id_of(url, key, base)}/sources")
    show_list(found, columns, as_json=as_json, nothing="It has no sources. Make one with: stoa kb sources create")


@app.command("show")
def show(
    base: Base,
    source: Source,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Show a source: its settings, how its last syncs went, and what the last one could not read."""
    path = f"/v1/knowledgebase-sources/{source_id_of(url, key, base, source)}"
    one = ask("GET", url, key, path)["data"]
    if as_json:
        print_json(one)
        return
    fields = (
        "id",
        "name",
        "provider",
        "schedule",
        "timezone",
        "next_sync_at",
        "item_count",
        "created_at",
        "updated_at",
    )
    rows = [(field, str(one[field])) for field in fields if field in one]
    for group in ("config", "metadata"):
        for field, value in one[group].items():
            if value not in (None, [], ""):
                rows.append((f"{group}.{field}", value if isinstance(value, str) else json.dumps(value)))
    if one["secret_names"]:
        rows.append(("secrets", ", ".join(one["secret_names"])))
    print_table((), rows)
    syncs: list[tuple[str, ...]] = []
    for sync in ask("GET", url, key, f"{path}/syncs?page_size=5")["data"]:
        counts = (str(sync["counts"][name]) for name in _COUNTS)
        syncs.append(
            (sync["created_at"], sync["trigger"], sync["status"], *counts, sync.get("error", {}).get("message", ""))
        )
    if syncs:
        print_table(("sync begun", "by", "status", *_COUNTS, "error"), syncs)
        _tell_failures(url, key, path)


@app.command("sync")
def sync_sources(
    base: Base,
    source: Annotated[
        str | None, typer.Argument(help="A source's id or name. \\[default: all of the base]", show_default=False)
    ] = None,
    wait: Annotated[
        bool, typer.Option(help="Wait until everything is fetched and processed, and show how far it is.")
    ] = True,
    confirm_deletions: Annotated[
        bool, typer.Option("--confirm-deletions", help="What the origin lost goes, however much it is.")
    ] = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Fetch what is new or changed at a source, or at all of a base, and let go of what is gone there. Where one is
    under way, it is joined.

    Ends with 1 when a sync fails, and says why. A document that cannot be fetched is named; what it held before stays.

    [dim]Example:[/] stoa kb sources sync Manuals "The manual"
    """
    if source is not None:
        found = [ask("GET", url, key, f"/v1/knowledgebase-sources/{source_id_of(url, key, base, source)}")["data"]]
    else:
        found = ask_all(url, key, f"/v1/knowledgebases/{base_id_of(url, key, base)}/sources")
    if not found:
        raise fail(f"{base} has no sources. Make one with: stoa kb sources create {base} …")
    _sync(url, key, found, confirm_deletions=confirm_deletions, wait=wait)


@app.command("cancel")
def cancel(base: Base, source: Source, url: Url = HERE, key: Key = None) -> None:
    """End the sync that is under way, soon. What it did stays."""
    sync = ask("DELETE", url, key, f"/v1/knowledgebase-sources/{source_id_of(url, key, base, source)}/sync")["data"]
    out.print(sync["status"] if "ended_at" in sync else "ending", markup=False)


@app.command("delete")
def delete(
    base: Base,
    source: Source,
    keep_items: Annotated[
        bool, typer.Option("--keep-items", help="Its items stay, as if you had uploaded them.")
    ] = False,
    yes: Yes = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Delete a source, and with it what it brought, for good, unless --keep-items. Prints the receipt."""
    source_id = source_id_of(url, key, base, source)
    confirm(f"Delete the source {source}{'' if keep_items else ' and all its items'} for good?", yes=yes)
    delete_for_good(url, key, f"/v1/knowledgebase-sources/{source_id}?items={'keep' if keep_items else 'delete'}")


def _config(
    provider: Provider,
    place: str,
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
    fields: Sequence[str] | None,
) -> dict[str, Any]:
    config: dict[str, Any] = {_PLACE[provider]: place}
    if provider is Provider.s3 and "/" in place:
        config["bucket"], _, config["prefix"] = place.partition("/")
    config |= {name: list(patterns) for name, patterns in (("include", include), ("exclude", exclude)) if patterns}
    return config | dict(_field(one) for one in fields or ())


def _field(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise fail(f"{text} is no field=value.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _sync(
    url: str | None, key: str | None, sources: Sequence[dict[str, Any]], *, confirm_deletions: bool, wait: bool
) -> None:
    """Starts the syncs of all sources, then waits for one after the other."""
    for one in sources:
        ask("POST", url, key, f"/v1/knowledgebase-sources/{one['id']}/sync", {"confirm_deletions": confirm_deletions})
    if not wait:
        out.print(f"{len(sources)} syncs are under way" if len(sources) > 1 else "the sync is under way", markup=False)
        return
    ends = [_watch(url, key, one) for one in sources]
    if any(end != "completed" for end in ends):
        raise typer.Exit(1)


def _watch(url: str | None, key: str | None, source: dict[str, Any]) -> str:
    """Waits until the sync has ended and its items are processed. Returns the sync's final status."""
    path = f"/v1/knowledgebase-sources/{source['id']}"
    waiting = f"source_id={source['id']}&status=pending&status=processing&page_size=1"
    items = f"/v1/knowledgebases/{source['knowledgebase_id']}/items?{waiting}"
    with bar() as progress:
        task = progress.add_task(source["name"], total=None)
        while (sync := ask("GET", url, key, f"{path}/sync")["data"]).get("ended_at") is None:
            trouble = f"; {sync['error']['message']} It is tried again" if "error" in sync else ""
            progress.update(task, description=f"{source['name']}: {_counted(sync)}{trouble}")
            time.sleep(LOOK_SECONDS)
        most = 0
        while waiting := ask("GET", url, key, items)["pagination"]["total_count"]:
            most = max(most, waiting)
            progress.update(task, description=f"{source['name']}: processing", total=most, completed=most - waiting)
            time.sleep(LOOK_SECONDS)
    out.print(f"{source['name']}: {sync['status']}: {_counted(sync)}", markup=False)
    for warning in sync["warnings"]:
        errors.print(warning, style="yellow", markup=False)
    if "error" in sync:
        way_out = " With the command: --confirm-deletions." if sync["error"]["code"] == "deletions_withheld" else ""
        errors.print(f"{sync['error']['message']}{way_out}", style="red", markup=False)
    _tell_failures(url, key, path)
    return str(sync["status"])


def _counted(sync: dict[str, Any]) -> str:
    return (
        ", ".join(f"{name} {count}" for name in _COUNTS if (count := sync["counts"][name]))
        or f"found {sync['counts']['found']}"
    )


def _tell_failures(url: str | None, key: str | None, path: str) -> None:
    answer = ask("GET", url, key, f"{path}/failures?page_size={FAILURES_SHOWN}")
    for one in answer["data"]:
        errors.print(f"{one['origin']}: {one['error']['message']}", style="red", markup=False)
    if (more := answer["pagination"]["total_count"] - len(answer["data"])) > 0:
        errors.print(f"… and {more} more", style="red", markup=False)
