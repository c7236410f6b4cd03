"""The marker file that a restore leaves in the data directory until it has finished."""

import json
from pathlib import Path
from typing import Final

from stoa.db.migrate import SchemaError

NOTE: Final = "restoring.json"


def noted(data_dir: Path) -> str | None:
    """The id of the backup whose restore has not finished."""
    try:
        return str(json.loads((data_dir / NOTE).read_bytes())["backup"])
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_whole(data_dir: Path) -> None:
    """Raises SchemaError while a restore into this data directory has not finished."""
    found = noted(data_dir)
    if found is not None:
        raise SchemaError(
            f"A restore of the backup {found} into {data_dir.resolve()} has not ended. Run the same stoa restore again,"
            " or remove what is there: stoa data remove"
        )
