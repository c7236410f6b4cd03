"""`stoa kb`: knowledge bases of a running server, over its public HTTP API."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from stoa.cli import sources
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
    create,
    deleted,
    errors,
    fail,
    out,
    print_json,
    print_made,
    refused,
    server,
)
from stoa.cli.forms import readable, uploading
from stoa.cli.stream.errors import StoaError
from stoa.cli.tables import Columns, print_table, show_list, show_one

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Knowledge bases of a running server (needs STOA_KEY, or --key).

    A knowledge base takes files of any kind, and finds what stands in them by words and by meaning:

        stoa kb create Policies
        stoa kb upload Policies ./papers
        stoa kb search Policies "what may a hotel cost"

    The same upload again, after an edit, replaces what changed. `stoa kb sources` fills it from a website, a
    directory, a bucket or a repository. An agent searches it when its id stands in agent.knowledge_bases of a
    conversation. docs/guide/knowledge.md tells the whole of it.""",
)
app.add_typer(sources.app, name="sources")
UPLOAD_BYTES_MAX: Final = 32 * 1024 * 1024
"""Files are uploaded in groups of about this size, so that a broken connection repeats one group only."""
UPLOAD_FILES_MAX: Final = 50


@app.command("create")
def create_base(
    name: Annotated[str, typer.Argument(help="What it is about.")],
    description: Annotated[
        str | None, typer.Option(help="For people, and for agents that choose where to look.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="How words are stemmed. \\[default: english]", show_default=False)
    ] = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Make a knowledge base and print its id. It searches by words and by meaning, with the local embedder.

    [dim]Example:[/] stoa kb create Policies --language german
    """
    body = {
        field: value
        for field, value in {"name": name, "description": description, "language": language}.items()
        if value
    }
    made = create(url, key, "/v1/knowledgebases", body)
    print_made(made, as_json=as_json)


@app.command("list")
def list_bases(as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List the knowledge bases that the key may see."""
    columns: Columns = {
        "id": "id",
        "name": "name",
        "items": "item_count",
        "chunks": "chunk_count",
        "created": "created_at",
    }
    nothing = "There is no knowledge base yet. Make one with: stoa kb create NAME"
    show_list(ask_all(url, key, "/v1/knowledgebases"), columns, as_json=as_json, nothing=nothing)


@app.command("show")
def show(base: Base, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """Show a knowledge base: its settings, its address, how much is in it."""
    found = ask("GET", url, key, f"/v1/knowledgebases/{base_id_of(url, key, base)}")["data"]
    nested = ("embedder.provider", "embedder.model", "chunking.characters_max", "retriever.mode", "retriever.alpha")
    plain = [name for name, value in found.items() if not isinstance(value, dict | list)]
    show_one(found, as_json=as_json, fields=[*plain, *nested])


@app.command("upload")
def upload(
    base: Base,
    paths: Annotated[
        list[Path],
        typer.Argument(help="Files and folders; folders are walked, what begins with a dot is left out.", exists=True),
    ],
    wait: Annotated[bool, typer.Option(help="Wait until every file is processed, and show how far it is.")] = True,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Add files to a knowledge base: PDF, Word, PowerPoint, Excel, CSV, HTML, Markdown, text, JSON, XML, RTF, EPUB,
    mail, source code, ZIP of these.

    A file that is there already under the same path is replaced, and keeps its id and metadata; the old version answers
    until the new one does. A file that is the same as before is not sent again. Ends with 1 when a file could not be
    read, and says which and why.
    """
    base_id = base_id_of(url, key, base)
    files = dict(sorted(_walk(paths)))
    if not files:
        raise fail("There are no files to upload.")
    known = {item["metadata"].get("path"): item for item in ask_all(url, key, f"/v1/knowledgebases/{base_id}/items")}
    changed = {name: path for name, path in files.items() if name not in known or not _is_same(path, known[name])}
    ids: list[str] = []
    with bar() as progress:
        task = progress.add_task("uploading", total=len(changed))
        for group in _groups(changed):
            # New files and replacements need two requests, because `ids` must name an item for every file.
            for part in ([name for name in group if name not in known], [name for name in group if name in known]):
                if part:
                    ids += _send(
                        url,
                        key,
                        base_id,
                        {name: files[name] for name in part},
                        [known[name]["id"] for name in part if name in known],
                    )
            progress.advance(task, len(group))
    out.print(
        f"uploaded {len(ids)} files"
        + (f", {len(files) - len(changed)} are as they were" if len(changed) < len(files) else ""),
        markup=False,
    )
    if wait and ids:
        _watch(url, key, base_id, ids)


@app.command("items")
def items(base: Base, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List a knowledge base's items and how each is doing; below them, why some failed, and what others lost."""
    found = ask_all(url, key, f"/v1/knowledgebases/{base_id_of(url, key, base)}/items")
    columns: Columns = {
        "id": "id",
        "name": "name",
        "status": "status",
        "chunks": "progress.chunks",
        "uploaded": "uploaded_at",
    }
    show_list(found, columns, as_json=as_json, nothing="Nothing is in it yet. Add files with: stoa kb upload")
    for item in () if as_json else found:
        if "error" in item:
            out.print(f"{item['id']}: {item['error']['message']}", markup=False)
        for warning in item.get("warnings") or ():
            out.print(f"{item['id']}: {warning}", markup=False)


@app.command("retry")
def retry(base: Base, url: Url = HERE, key: Key = None) -> None:
    """Process every item that failed once more: after the embedder is back, or a limit was raised."""
    again = ask("POST", url, key, f"/v1/knowledgebases/{base_id_of(url, key, base)}/reprocess")
    out.print(f"{again['items']} items are processed again", markup=False)


@app.command("search")
def search(
    base: Base,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    limit: Annotated[int, typer.Option(min=1, max=100)] = 5,
    mode: Annotated[
        str | None, typer.Option(help="semantic, keyword or hybrid. \\[default: the base's]", show_default=False)
    ] = None,
    explain: Annotated[bool, typer.Option(help="Show each stage's times and each hit's scores.")] = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Search a knowledge base, best first.

    [dim]Example:[/] stoa kb search Policies "what may a hotel cost" --limit 3 --json
    """
    body = {"query": query, "limit": limit, "explain": explain, **({"mode": mode} if mode else {})}
    answer = ask("POST", url, key, f"/kb/{base_id_of(url, key, base)}/v1/documents/search", body)
    if as_json:
        print_json(answer)
        return
    for number, hit in enumerate(answer["data"], 1):
        page = f", page {hit['metadata']['page']}" if "page" in hit["metadata"] else ""
        out.print(f"{number}. {hit['score']:.3f}  {hit['metadata']['source']}{page}", style="bold", markup=False)
        out.print(hit["content"].strip()[:600], markup=False)
        if explain and "explain" in hit:
            out.print(json.dumps(hit["explain"]), style="dim", markup=False)
    if explain and "explain" in answer:
        out.print(json.dumps(answer["explain"]), style="dim", markup=False)
    if not answer["data"]:
        out.print("nothing found", markup=False)


@app.command("delete")
def delete(
    base: Base,
    item: Annotated[str | None, typer.Option(help="An item's id: only that is deleted.")] = None,
    yes: Yes = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Delete a knowledge base, or one item of it, for good: files, text, chunks and vectors. Prints the receipt."""
    base_id = base_id_of(url, key, base)
    path = f"/v1/knowledgebases/{base_id}" if item is None else f"/v1/knowledgebase-items/{item}"
    confirm(f"Delete {'the knowledge base ' + base if item is None else 'the item ' + item} for good?", yes=yes)
    deleted(url, key, path)


@app.command("evaluate")
def evaluate(
    base: Base,
    golden: Annotated[
        Path,
        typer.Argument(
            help='JSON lines: {"query": …, "relevant": [item ids or names] or {name: grade}}.',
            exists=True,
            dir_okay=False,
        ),
    ],
    setting: Annotated[
        list[str] | None,
        typer.Option(
            help="keyword, semantic, hybrid or hybrid:0.3 (its alpha); repeat it. \\[default: all three]",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Measure how well a base's search finds what a golden set says it should: nDCG@10, recall@10, MRR, with 95 %
    intervals."""
    body: dict[str, Any] = {"queries": _golden(golden)}
    if setting:
        body["settings"] = [_setting(one) for one in setting]
    answer = ask("POST", url, key, f"/v1/knowledgebases/{base_id_of(url, key, base)}/evaluate", body)["data"]
    if as_json:
        print_json(answer)
        return
    rows = [
        (one["name"], *(_interval(one["measures"][field], "") for _, field in _MEASURES)) for one in answer["settings"]
    ]
    rows += [
        (f"{one['name']} - {one['than']}", *(_interval(one["measures"][field], "+") for _, field in _MEASURES))
        for one in answer["differences"]
    ]
    print_table(("setting", *(title for title, _ in _MEASURES)), rows)
    out.print(
        f"{len(body['queries'])} queries; a difference whose interval holds 0 may be chance", style="dim", markup=False
    )
    if "probe" in answer:
        probe = answer["probe"]
        out.print(
            f"nearest neighbours found: {probe['recall_at_10']:.3f} of those of an exact scan ({probe['method']})",
            style="dim",
            markup=False,
        )


_MEASURES: Final = (("nDCG@10", "ndcg_at_10"), ("recall@10", "recall_at_10"), ("MRR", "mrr"))


def _interval(value: dict[str, float], sign: str) -> str:
    return f"{value['mean']:{sign}.3f} ({value['low']:{sign}.3f} … {value['high']:{sign}.3f})"


def _golden(path: Path) -> list[Any]:
    """JSON lines, or one JSON document: a list of queries, or {"queries": […]}."""
    text = path.read_text("utf-8")
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError as error:
            raise fail(f"{path} is neither JSON nor JSON lines: {error}") from error
    if isinstance(document, dict):
        return list(document["queries"]) if "queries" in document else [document]
    return list(document)


def _setting(text: str) -> dict[str, Any]:
    mode, _, alpha = text.partition(":")
    try:
        return {"mode": mode, **({"alpha": float(alpha)} if alpha else {})}
    except ValueError as error:
        raise fail(f"{text} is no setting; write keyword, semantic, hybrid or hybrid:0.3.") from error


def _watch(url: str | None, key: str | None, base_id: str, ids: Sequence[str]) -> None:
    wanted = set(ids)
    items = f"/v1/knowledgebases/{base_id}/items"
    with bar() as progress:
        task = progress.add_task("processing", total=len(wanted))
        while (
            waiting := {item["id"] for item in ask_all(url, key, f"{items}?status=pending&status=processing")} & wanted
        ):
            progress.update(task, completed=len(wanted) - len(waiting))
            time.sleep(0.5)
    ended = [item for item in ask_all(url, key, items) if item["id"] in wanted]
    failed = [item for item in ended if item["status"] == "failed"]
    for item in ended:
        name = item["metadata"].get("path", item["name"])
        if "error" in item:
            errors.print(f"{name}: {item['error']['message']}", style="red", markup=False)
        for warning in item.get("warnings") or ():
            errors.print(f"{name}: {warning}", style="yellow", markup=False)
    out.print(f"processed {len(wanted) - len(failed)}, failed {len(failed)}", markup=False)
    if failed:
        raise typer.Exit(1)


def _walk(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """(name, file). The name of a file in a folder is the folder's name and the path in it, whatever the working
    directory is."""
    for path in paths:
        if not path.is_dir():
            yield readable(path.name), path
            continue
        for one in path.rglob("*"):
            inside = one.relative_to(path)
            if one.is_file() and not any(part.startswith(".") for part in inside.parts):
                yield readable(f"{path.resolve().name}/{inside.as_posix()}"), one


def _is_same(path: Path, item: dict[str, Any]) -> bool:
    if item["status"] == "failed" or item["size"] != path.stat().st_size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == item["sha256"]


def _groups(files: Mapping[str, Path]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for name, path in files.items():
        bytes_of = path.stat().st_size
        if group and (size + bytes_of > UPLOAD_BYTES_MAX or len(group) == UPLOAD_FILES_MAX):
            yield group
            group, size = [], 0
        group.append(name)
        size += bytes_of
    if group:
        yield group


def _send(
    url: str | None, key: str | None, base_id: str, files: Mapping[str, Path], replaced: Sequence[str]
) -> list[str]:
    """Sends one multipart request; returns the items' ids. Replaced items keep their metadata."""
    fields = (
        {"ids": json.dumps(list(replaced))}
        if replaced
        else {"input": json.dumps({"metadata": [{"path": name} for name in files]})}
    )
    contents = [(path, path.read_bytes()) for path in files.values()]
    call = uploading(f"/v1/knowledgebases/{base_id}/upload", "files", contents, fields)
    try:
        return [item["id"] for item in server(url, key).json(call)["data"]]
    except StoaError as error:
        raise refused(error) from error
