"""The arguments of `stoa backup` and `stoa restore`."""

from pathlib import Path
from typing import Annotated

import typer

from stoa.cli.asking import Exit, Json, fail
from stoa.cli.operating import Config, DataDir, settings

KeyFile = Annotated[
    Path | None,
    typer.Option(help="A file whose content encrypts. \\[default: STOA_BACKUP_KEY_FILE]", show_default=False),
]


def backup(
    directory: Annotated[
        Path | None,
        typer.Argument(help="Where the backups are. \\[default: STOA_BACKUP_DIRECTORY]", show_default=False),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Keep the last N backups, and remove older ones.", show_default=False)
    ] = None,
    keep_daily: Annotated[int | None, typer.Option(min=0, help="And the last of N days.", show_default=False)] = None,
    keep_weekly: Annotated[int | None, typer.Option(min=0, help="Of N weeks.", show_default=False)] = None,
    keep_monthly: Annotated[int | None, typer.Option(min=0, help="Of N months.", show_default=False)] = None,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Encrypt: asks for a passphrase, or takes STOA_BACKUP_PASSPHRASE.")
    ] = False,
    key_file: KeyFile = None,
    include_secret_key: Annotated[
        bool, typer.Option("--include-secret-key", help="Put secret.key into an encrypted backup.")
    ] = False,
    files: Annotated[
        bool, typer.Option("--files", help="Copy the files of a bucket (STOA_BLOBS) too, not only its database.")
    ] = False,
    scheduled: Annotated[bool, typer.Option("--scheduled", hidden=True, help="Called by a server.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Back up database and files, beside running servers or without one.

    The first backup into a directory stores everything, each further one what is new; each can be restored by itself.
    Without --keep nothing is removed, but for a directory of the settings (STOA_BACKUP_DIRECTORY), which has its own
    rules.
    """
    from stoa.cli.backing_up import BackupOptions, asked_secret, run_backup, secret_of  # noqa: PLC0415 — the database's weight
    from stoa.cli.doctor import NoDatabase  # noqa: PLC0415
    from stoa.db.backup.repository import Busy  # noqa: PLC0415
    from stoa.db.backup.scheduling import BUSY  # noqa: PLC0415
    from stoa.db.backup.types import BackupError, Keep  # noqa: PLC0415
    from stoa.db.embedded import EmbeddedError  # noqa: PLC0415

    chosen = settings(config, data_dir=data_dir)
    rules = chosen.backup
    target = directory or (rules.directory if rules else None)
    if target is None:
        raise fail("Name a directory for the backups, or set STOA_BACKUP_DIRECTORY.", Exit.USED_WRONGLY)
    given = Keep(keep or 0, keep_daily or 0, keep_weekly or 0, keep_monthly or 0)
    if directory is None and given.everything and rules is not None:
        given = Keep(rules.keep, rules.keep_daily, rules.keep_weekly, rules.keep_monthly)
    try:
        secret = asked_secret(target, secret_of(chosen, key_file), encrypt=encrypt)
        with_key = include_secret_key or (rules is not None and rules.include_secret_key and secret is not None)
        with_files = files or (rules is not None and rules.files)
        run_backup(
            chosen, BackupOptions(target, given, secret, with_key, with_files), scheduled=scheduled, as_json=as_json
        )
    except Busy as error:
        if scheduled:
            raise typer.Exit(BUSY) from error
        raise fail(str(error)) from error
    except (BackupError, EmbeddedError, NoDatabase) as error:
        raise fail(str(error)) from error
    except OSError as error:
        raise fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}") from error


def restore(
    source: Annotated[Path, typer.Argument(help="Where the backups are.")],
    into: Annotated[
        Path | None, typer.Option(help="The new data directory. \\[default: .stoa]", show_default=False)
    ] = None,
    backup_id: Annotated[
        str | None, typer.Option("--backup", help="Which one. \\[default: the newest]", show_default=False)
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Only list the backups.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Only check: read everything, restore it on trial beside what is there, and run the doctor on it.",
        ),
    ] = False,
    checksums_only: Annotated[
        bool, typer.Option("--checksums-only", help="With --check: only read everything.")
    ] = False,
    scratch: Annotated[
        Path | None,
        typer.Option(
            help="With --check: where the trial is made; it needs room for everything. \\[default: /tmp]",
            show_default=False,
        ),
    ] = None,
    key_file: KeyFile = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Restore a backup into an empty data directory, and into an empty database: an embedded one, or that of
    STOA_DATABASE_URL.

    Overwrites nothing. A restore that was interrupted goes on when it is called again; until it has ended, no server
    starts there.
    """
    from stoa.cli.backing_up import list_backups, manifest_of, open_backups, run_check, run_restore  # noqa: PLC0415
    from stoa.cli.doctor import NoDatabase  # noqa: PLC0415
    from stoa.db.backup.types import BackupError  # noqa: PLC0415
    from stoa.db.embedded import EmbeddedError  # noqa: PLC0415

    chosen = settings(config, data_dir=into)
    try:
        repository = open_backups(chosen, source, key_file)
        if listed:
            list_backups(repository, as_json=as_json)
            return
        manifest = manifest_of(repository, backup_id)
        if check:
            if not run_check(chosen, repository, manifest, scratch=scratch, trial=not checksums_only, as_json=as_json):
                raise typer.Exit(Exit.FAILED)
            return
        run_restore(chosen, repository, manifest)
    except (BackupError, EmbeddedError, NoDatabase) as error:
        raise fail(str(error)) from error
    except OSError as error:
        raise fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}") from error
