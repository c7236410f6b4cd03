"""`stoa export`, `stoa import`, `stoa imports`: move a project between servers, over their public HTTP API."""

import json
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from stoa.cli import archives
from stoa.cli.archives import ArchiveError
from stoa.cli.asking import (
    HERE,
    Exit,
    Json,
    Key,
    Limit,
    Url,
    Yes,
    ask,
    ask_all,
    bar,
    confirm,
    errors,
    fail,
    id_of,
    out,
    print_json,
    refused,
    server,
)
from stoa.cli.client import request
from stoa.cli.stream.errors import ConflictError, ConnectionFailed, StoaError, UnavailableError
from stoa.cli.stream.transport import LOST, Call, Transport
from stoa.cli.tables import Columns, print_table, show_list

app = typer.Typer(no_args_is_help=True, help="Imports of projects: what was sent, and waits to be applied.")
ATTEMPTS_MAX: Final = 5
"""Attempts in a row without progress."""
APPLYING_SECONDS_MAX: Final = 6 * 3600.0
APPLYING_POLL_SECONDS: Final = 5.0
File = Annotated[Path, typer.Argument(help="The export.", dir_okay=False)]


def export_project(
    project: Annotated[str, typer.Argument(help="The project's id, or its name where only one has it.")],
    file: Annotated[Path, typer.Argument(help="Where the export goes; it must not exist.", dir_okay=False)],
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Export a project into one file: conversations, knowledge bases, apps, everything but secrets.

    What was written so far is in FILE.part: the same command goes on from there after a lost connection or Ctrl-C. The
    file is checked against its checksums before it gets its name.

    [dim]Example:[/] stoa export Support support.tar
    """
    if file.exists():
        raise fail(f"{file} is there already.", Exit.USED_WRONGLY)
    project_id = id_of(project, "project", lambda: ask_all(url, key, "/v1/projects"))
    part = file.with_name(file.name + ".part")
    _download(server(url, key), project_id, part)
    archive = _verified(part)
    part.replace(file)
    if as_json:
        print_json({"file": str(file), "manifest": archive.manifest})
        return
    records = {name: one["records"] for name, one in archive.manifest["tables"].items() if one["records"]}
    print_table(("table", "records"), [(name, str(count)) for name, count in sorted(records.items())])
    out.print(f"\n{file}: {file.stat().st_size} bytes, as of {archive.manifest['exported_at']}", markup=False)
    _tell_to_fill_in(archive.manifest["to_fill_in"])


def import_project(
    file: File,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be made, and what is in the way; nothing stays.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(help="THEIRS=OURS: the model that stands for one which is not here. Repeat it.", metavar="A=B"),
    ] = None,
    org: Annotated[str | None, typer.Option(help="The organization's id. \\[default: the key's]")] = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Import a project from a file: all of it in one transaction, or nothing. Ids stay as they are.

    The same command goes on where a lost connection or Ctrl-C has ended it: parts that are there are not sent again.

    [dim]Examples:[/]

        stoa import support.tar --dry-run
        stoa import support.tar --model gpt-5=gpt-5-mini
    """
    models = _models(model or [])
    archive = _verified(file)
    transport = server(url, key)
    query = f"?org_id={org}" if org else ""
    try:
        made = transport.json(request("POST", f"/v1/imports{query}", archive.manifest))["data"]
        _upload(transport, archive, made, query)
        path = f"/v1/imports/{made['id']}"
        report = _applied(transport, f"{path}/apply{query}", {"dry_run": dry_run, "models": models})
        if dry_run:
            transport.json(Call("DELETE", f"{path}{query}"))
    except StoaError as error:
        raise refused(error) from error
    if as_json:
        print_json(report)
        return
    print_table(("table", "records"), [(name, str(count)) for name, count in sorted(report["created"].items())])
    verb = "would be made" if dry_run else "is here"
    out.print(f"\nThe project {report['project']['name']} {verb}: {report['project']['id']}", markup=False)
    if report["missing_contents"]:
        out.print(f"{report['missing_contents']} contents could not be read when it was exported.", style="yellow")
    _tell_to_fill_in(report["to_fill_in"])


@app.command("list")
def list_imports(limit: Limit = 25, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List imports, the newest first."""
    columns: Columns = {
        "id": "id",
        "status": "status",
        "project": "project.name",
        "exported": "exported_at",
        "begun": "created_at",
        "dropped": lambda one: one["expires_at"] if one["status"] == "receiving" else "",
    }
    found = ask_all(url, key, "/v1/imports", limit)
    show_list(found, columns, as_json=as_json, nothing="Nothing was imported. Begin with: stoa import FILE")


@app.command("drop")
def drop(
    import_id: Annotated[str, typer.Argument(help="The import's id, from `stoa imports list`.")],
    yes: Yes = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Drop an import that was not applied, with the parts that were sent."""
    confirm(f"Drop the import {import_id}?", yes=yes)
    ask("DELETE", url, key, f"/v1/imports/{import_id}")
    out.print("dropped", markup=False)


def _download(transport: Transport, project_id: str, part: Path) -> None:
    """Writes the export, and resumes it after broken connections."""
    failures, had = 0, -1
    while True:
        begun = _beginning(part, project_id)
        if begun is not None and begun.whole:
            return
        failures, had = (0, begun.ends) if begun is not None and begun.ends > had else (failures + 1, had)
        if failures >= ATTEMPTS_MAX:
            raise fail(f"The export broke off {ATTEMPTS_MAX} times at the same place; what is there is in {part}.")
        path = f"/v1/projects/{project_id}/export"
        if begun is not None:
            path += f"?export_id={begun.export_id}&after={begun.parts}"
        try:
            _append(transport, Call("GET", path), part, begun.ends if begun is not None else 0)
        except ConflictError as error:
            if begun is None:
                raise refused(error) from error
            errors.print(f"{error} It begins anew.", style="yellow", markup=False)
            part.unlink()
            had = -1
        except ConnectionFailed as error:
            if not error.sent:
                raise refused(error) from error
            transport.wait(failures + 1, error)
        except StoaError as error:
            raise refused(error) from error


def _append(transport: Transport, call: Call, part: Path, at: int) -> None:
    answer = transport.answer(call, stream=True)
    try:
        with part.open("r+b" if at else "wb") as file, bar() as progress:
            file.truncate(at)
            file.seek(at)
            task = progress.add_task("exporting", total=None)
            for piece in answer.iter_bytes():
                file.write(piece)
                progress.advance(task, len(piece))
    except LOST as error:
        raise ConnectionFailed(f"The connection broke: {error}", sent=True) from error
    finally:
        answer.close()


def _beginning(part: Path, project_id: str) -> archives.Beginning | None:
    if not part.exists():
        return None
    try:
        begun = archives.beginning(part)
    except ArchiveError as error:
        raise fail(f"{part} {error}. Remove it, and export again.") from error
    if begun is not None and begun.project_id != project_id:
        raise fail(f"{part} is the beginning of another project's export, {begun.project_id}. Remove it first.")
    return begun


def _verified(file: Path) -> archives.Archive:
    try:
        with bar() as progress:
            task = progress.add_task("checking", total=None)
            return archives.verified(file, lambda done, total: progress.update(task, completed=done, total=total))
    except ArchiveError as error:
        raise fail(f"{file} {error}.") from error
    except OSError as error:
        raise fail(f"{error.strerror}: {file}", Exit.USED_WRONGLY) from error


def _upload(transport: Transport, archive: archives.Archive, made: dict[str, Any], query: str) -> None:
    """Sends the missing parts. Asks again if more are missing than one response lists."""
    with bar() as progress:
        task = progress.add_task("uploading", total=made["parts"]["total"], completed=made["parts"]["received"])
        while missing := made["parts"]["missing"]:
            for number in missing:
                path = f"/v1/imports/{made['id']}/parts/{number}{query}"
                headers = {"Content-Type": "application/gzip"}
                transport.json(Call("PUT", path, body=archive.read(number), headers=headers))
                progress.advance(task)
            made = transport.json(Call("GET", f"/v1/imports/{made['id']}{query}"))["data"]


def _applied(transport: Transport, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The report. Applying a large project may take longer than a connection stays open: then the request is repeated,
    and returns the same report when the import is done."""
    call = Call("POST", path, False, json.dumps(body).encode(), {"Content-Type": "application/json"})
    until = time.monotonic() + APPLYING_SECONDS_MAX
    while True:
        try:
            with bar() as progress:
                progress.add_task("applying", total=None)
                answer: dict[str, Any] = transport.json(call)["data"]
                return answer
        except UnavailableError:
            if time.monotonic() > until:
                raise
        except ConnectionFailed as error:
            if not error.sent or time.monotonic() > until:
                raise
        time.sleep(APPLYING_POLL_SECONDS)


def _models(given: list[str]) -> dict[str, str]:
    models: dict[str, str] = {}
    for one in given:
        theirs, found, ours = one.partition("=")
        if not found or not theirs or not ours:
            raise fail(f"--model takes THEIRS=OURS, as in gpt-5=gpt-5-mini; this is {one}.", Exit.USED_WRONGLY)
        models[theirs] = ours
    return models


def _tell_to_fill_in(what: list[str]) -> None:
    if what:
        out.print("\nTo be filled in, for an export holds no secrets:")
        for one in what:
            out.print(f"  {one}", markup=False)
