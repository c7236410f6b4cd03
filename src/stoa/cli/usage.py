"""`stoa usage`: tokens and cost."""

from typing import Annotated
from urllib.parse import urlencode

import typer

from stoa.cli.asking import HERE, Json, Key, Url, ask_all, fail
from stoa.cli.tables import show_list

COUNTS = ("calls", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd")


def usage(
    by: Annotated[
        str,
        typer.Option(
            help="day, model, key_id, project_id, user_id, conversation_id, run_id, kind; several with commas."
        ),
    ] = "day,model",
    since: Annotated[
        str | None, typer.Option("--from", help="The first moment, as 2026-06-01T00:00:00Z. \\[default: 30 days ago]")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="The first moment that does not count.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Show tokens and dollars.

    [dim]Examples:[/]

        stoa usage
        stoa usage --by key_id --from 2026-06-01T00:00:00Z
    """
    groups = [one.strip() for one in by.split(",") if one.strip()]
    if not groups:
        raise fail("Name what to group by, as in --by day,model.")
    given = {"group_by": ",".join(groups), "from": since, "to": until, "model": model}
    found = ask_all(url, key, "/v1/usage?" + urlencode({name: value for name, value in given.items() if value}))
    columns = {name: name for name in (*groups, *COUNTS)}
    show_list(found, columns, as_json=as_json, nothing="Nothing was used.")
