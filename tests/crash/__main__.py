"""`python -m tests.crash [--long] [--seed N]`: the campaign of cuts, its report as JSON."""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

from tests.crash.campaign import campaign

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--long", action="store_true", help="2,000 cuts instead of 200")
parser.add_argument("--seed", type=int, default=20261123)
options = parser.parse_args()
with tempfile.TemporaryDirectory(prefix="stoa-crash-") as home:
    Path(home).chmod(0o755)
    cuts, kills = (2_000, 100) if options.long else (200, 12)
    print(json.dumps(asyncio.run(campaign(Path(home) / "data", cuts=cuts, seed=options.seed, kills=kills)).as_json(), indent=1))
