"""`stoa apply`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from stoa.cli.apply import definitions
from stoa.cli.apply.applying import Target
from stoa.cli.apply.plan import WRITE_ONLY, Action, Change, Difference, Plan, leaves, plan
from stoa.cli.apps import Project, project_id_of
from stoa.cli.asking import HERE, Exit, Json, Key, Url, Yes, fail, out, print_json, refused, server
from stoa.cli.stream.errors import StoaError
from stoa.cli.text import one_line

_SIGNS = {
    Action.CREATE: ("+", "green"),
    Action.CHANGE: ("~", "yellow"),
    Action.REFUSE: ("!", "red"),
    Action.KEEP: ("=", "dim"),
}


def apply(
    files: Annotated[
        list[Path], typer.Argument(help="YAML files, or directories of them.", exists=True, show_default=False)
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; end with 5 where the server differs from the files.")
    ] = False,
    send_secrets: Annotated[
        bool, typer.Option("--send-secrets", help="Send secrets also where nothing else differs: after a rotation.")
    ] = False,
    project: Project = None,
    yes: Yes = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Bring knowledge bases, sources, tools and apps to what files say. The plan is shown first; what a file leaves out
    stays as it is, and nothing is ever deleted.

    A value may hold ${NAME} of the environment. Secrets cannot be read back, so only their names are compared.

    [dim]Examples:[/]

        stoa apply stoa.yaml
        stoa apply deploy/ --yes
        stoa apply stoa.yaml --check
    """
    try:
        wanted = definitions.read(definitions.load(files))
    except definitions.DefinitionError as error:
        raise fail(str(error), Exit.USED_WRONGLY) from error
    target = Target(server(url, key), project_id_of(url, key, project))
    try:
        made = plan(wanted, target.live(wanted), send_secrets=send_secrets)
        if as_json:
            print_json(_as_json(made))
        else:
            _show(made)
        if check:
            raise typer.Exit(int(Exit.DIFFERS if made.differs else Exit.DONE))
        if made.count(Action.REFUSE):
            raise fail("Nothing was changed: see what is marked with !")
        if made.differs:
            _confirm(yes=yes)
            for change in made.changes:
                target.carry_out(change, lambda line: None if as_json else out.print(line, markup=False))
    except StoaError as error:
        raise refused(error) from error


def _confirm(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise fail(
            "Nothing was changed: there is nobody to ask. Pass --yes, or --check for the plan alone.", Exit.USED_WRONGLY
        )
    typer.confirm("Do this?", abort=True, err=True)


def _show(made: Plan) -> None:
    for change in made.changes:
        sign, style = _SIGNS[change.action]
        name = f"{change.below}/{change.name}" if change.below else change.name
        out.print(f"{sign} {change.kind:<7} {name}", style=style, markup=False)
        for difference in (leaf for one in change.differences for leaf in leaves(one)):
            out.print(f"      {_said(difference)}", markup=False)
        if change.why:
            out.print(f"      {change.why}", style="red", markup=False)
    create, alter, keep = (made.count(one) for one in (Action.CREATE, Action.CHANGE, Action.KEEP))
    out.print(f"{create} to create, {alter} to change, {keep} as they are", markup=False)
    if made.others:
        out.print(f"In no file: {', '.join(f'{kind} {name}' for kind, name in made.others)}", style="dim", markup=False)


def _said(difference: Difference) -> str:
    if difference.field == WRITE_ONLY:
        return f"secrets: {', '.join(difference.becomes) or 'none'}"
    before, after = (
        one_line(json.dumps(value, ensure_ascii=False), 60) for value in (difference.is_, difference.becomes)
    )
    return f"{difference.field}: {before} → {after}"


def _as_json(made: Plan) -> dict[str, Any]:
    return {"differs": made.differs, "changes": _changes(made.changes), "others": [list(one) for one in made.others]}


def _changes(changes: Sequence[Change]) -> list[dict[str, Any]]:
    return [
        {
            "kind": change.kind,
            "name": change.name,
            "action": change.action.value,
            **({"base": change.below} if change.below else {}),
            **({"why": change.why} if change.why else {}),
            "differences": [{"field": one.field, "is": one.is_, "becomes": one.becomes} for one in change.differences],
        }
        for change in changes
    ]
