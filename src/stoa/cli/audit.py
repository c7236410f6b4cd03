"""`stoa audit verify FILE`: works without a server, and does not trust the server that wrote the file."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from stoa.cli.asking import Json, fail, out
from stoa.kernel.audit_chain import verify

app = typer.Typer(no_args_is_help=True, help="The audit, checked offline.")


@app.callback()
def _group() -> None: ...


@app.command("verify")
def verify_file(
    file: Annotated[Path, typer.Argument(help="What GET /v1/audit/export?format=jsonl gave.")],
    head: Annotated[
        str | None,
        typer.Option(help="The hash that GET /v1/audit/head gave: proves that no line is missing at the end."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that the lines of an export are one unbroken chain: none changed, removed or inserted."""
    try:
        with file.open(encoding="utf-8") as lines:
            found = verify(lines)
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise fail(f"{file} is no export of the audit: it is no text in UTF-8.") from error
    if found.problem is not None:
        raise fail(found.problem)
    if head is not None and head.strip().lower() != found.hash:
        raise fail(f"The chain is unbroken, but ends in {found.hash} (sequence {found.last}), not in {head}.")
    whole = "from the beginning" if found.first == 1 else f"from sequence {found.first}, so continue an earlier export"
    if as_json:
        sys.stdout.write(json.dumps({"first": found.first, "last": found.last, "hash": found.hash}) + "\n")
        return
    out.print(f"Unbroken: lines {found.first} to {found.last}, {whole}; it ends in {found.hash}.", markup=False)
