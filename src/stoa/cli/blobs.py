"""`stoa blobs`: copies the contents of files from the data directory to a bucket, back, or between buckets."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.status import Status

from stoa.cli.asking import Exit, errors, fail, out
from stoa.cli.operating import Config, DataDir, settings
from stoa.kernel.errors import AppError

if TYPE_CHECKING:
    from stoa.settings import Settings
    from stoa.storage import Moved

app = typer.Typer(no_args_is_help=True, help="The contents of files: copy them into a bucket, or out of it.")


@app.command("move")
def move_command(
    target: Annotated[
        str, typer.Argument(help="s3://bucket/prefix, gs://…, az://…, or the path of a data directory.", metavar="TO")
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from", help="The same of where they are. \\[default: what STOA_BLOBS says]", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be copied.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also read and hash what was copied before, and copy what is damaged.")
    ] = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Copy the contents of all files to where they shall be from now on; what is there already is left alone.

    Call it while the server runs, then set STOA_BLOBS, restart the server, and call it once more for what was uploaded
    between. Nothing is removed where they were.
    """
    from stoa.kernel.telemetry import configure_logs  # noqa: PLC0415 — a client of a server needs none of it
    from stoa.settings import SettingsError  # noqa: PLC0415

    configure_logs("error", "console")
    chosen = settings(config, data_dir=data_dir)
    if _place(source or chosen.blobs or str(chosen.data_dir)) == _place(target):
        raise fail(f"The files are at {target} already. Say where they were with --from.", Exit.USED_WRONGLY)
    try:
        moved = asyncio.run(_move(chosen, source or chosen.blobs, target, dry_run=dry_run, verify=verify))
    except (SettingsError, OSError) as error:
        raise fail(str(error), Exit.FAILED) from error
    except AppError as error:
        raise fail(f"{error.message} Call it again: it goes on where it was.", Exit.FAILED) from error
    _say(moved, target, dry_run=dry_run)
    if moved.damaged:
        raise typer.Exit(Exit.FAILED)


def _place(named: str) -> str:
    return named.rstrip("/") if "://" in named else str(Path(named).resolve())


async def _move(chosen: "Settings", source: str | None, target: str, *, dry_run: bool, verify: bool) -> "Moved":
    from stoa.app.storage import open_named  # noqa: PLC0415 — a client of a server needs none of it
    from stoa.storage import Moved, move  # noqa: PLC0415

    total = Moved()
    async with open_named(chosen, source) as origin, open_named(chosen, target) as aim:
        with Status("Copying …", console=errors) as status:

            def progress(moved: "Moved") -> None:
                done = total.plus(moved)
                status.update(f"{done.copied:,} copied ({done.bytes >> 20:,} MiB), {done.there:,} there already")

            for (_, before), (_, after) in zip(origin.each(), aim.each(), strict=True):
                total = total.plus(await move(before, after, dry_run=dry_run, verify=verify, progress=progress))
    return total


def _say(moved: "Moved", target: str, *, dry_run: bool) -> None:
    verb = "would be copied" if dry_run else "copied and verified by their hash"
    out.print(
        f"{moved.copied:,} files {verb} ({moved.bytes:,} bytes), {moved.there:,} there already.",
        markup=False,
    )
    if moved.gone:
        out.print(f"{moved.gone:,} were deleted meanwhile.", markup=False)
    for name in moved.damaged:
        out.print(f"damaged, not copied: {name}", markup=False)
    if dry_run:
        return
    out.print(
        f"\nNext: set STOA_BLOBS to {target} (unset for the data directory) on every node and restart them, then call"
        " this once more with --from for what was uploaded between. After that, stoa doctor --repair removes what was"
        " deleted meanwhile, and the files where they were can be removed.",
        markup=False,
    )
