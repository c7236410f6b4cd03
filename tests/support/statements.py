"""The named statements of all stores, as PostgreSQL gets them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from stoa.db.sql import load

SOURCE: Final = Path(__file__).parents[2] / "src" / "stoa"
FILLINGS: Final = {
    "{claimable}": load("stoa.db", "claiming.sql").claimable,
    "{jobs}": "callbacks",
    "{working}": "running",
    "{order}": "created_at, id",
    "{events_order}": "received_at, id",
    "{apps_order}": "p.name, p.id",
    "{listed_order}": "a.name, a.id",
    "{sums_order}": "day, id",
    "{grouped}": "(at AT TIME ZONE 'UTC')::date AS day, user_id",
    "{by}": "1, 2",
    "{items_order}": "uploaded_at, id",
    "{vectors}": "knowledge_vectors",
    "{dimensions}": "384",
    "{newest_traces}": load("stoa.traces").newest_traces,
    "{sent_traces}": load("stoa.traces").sent_traces,
    "{own_runs}": load("stoa.traces").own_runs,
    "{sent_scope}": "",
    "{own_scope}": "",
    "{only}": "",
    "{own_status}": "r.status",
    "{own_name}": "'Answer'",
    "{directory}": "blobs",
    "{table}": "files",
    "{column}": "sha256",
    "{columns}": "org_id, sha256",
    "{names}": "SELECT name FROM files",
    "{target}": "knowledge_vectors",
    "{source}": "ONLY knowledge_vectors",
}
NAMED: Final = [file for file in sorted(SOURCE.glob("**/*.sql")) if file.parent.name != "migrations"]


def statements_of(file: Path) -> Mapping[str, str]:
    """The statements of one file by name, each with its comment."""
    return load(".".join(("stoa", *file.parent.relative_to(SOURCE).parts)), file.name).texts


def filled(statement: str) -> str:
    """With something in each place that a store fills in."""
    for place, filling in FILLINGS.items():
        statement = statement.replace(place, filling)
    return statement
