"""Triggers due across two daylight saving changes, on nodes that are killed: does each due time start one run?

    python -m bench.triggers [--triggers 1000] [--nodes 3] [--kills 40] [--seed 1]

Fails if a due time fires twice, never, or without a run. All nodes have a fast clock: five hours around Berlin's change
in spring, a jump over a week, five hours around Sydney's change in autumn. The figures are JSON.
"""

import argparse
import asyncio
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import structlog

from stoa.db.embedded import start_embedded
from stoa.db.migrate import migrate
from tests.support.crashes.trigger_storm import storm


async def main(options: argparse.Namespace, home: Path) -> None:
    embedded = await start_embedded(home / "cluster")
    try:
        await migrate(embedded.dsn)
        report = await storm(
            embedded.dsn,
            home,
            triggers=options.triggers,
            nodes=options.nodes,
            kills=options.kills,
            factor=options.factor,
            windows=2,
            seed=options.seed,
        )
        print(json.dumps(asdict(report)))
    finally:
        await embedded.stop()


structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))  # In the nodes too.

if __name__ == "__main__":  # Nodes are forked from a server that imports the main module again.
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triggers", type=int, default=1_000)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--factor", type=float, default=300.0, help="how much faster the clock goes")
    parser.add_argument("--seed", type=int, default=1)
    with tempfile.TemporaryDirectory(prefix="stoa-triggers-") as directory:
        Path(directory).chmod(0o755)
        asyncio.run(main(parser.parse_args(), Path(directory)))
