"""The campaign of faults, reported as JSON.

python -m tests.crash [--long]
                      [--failover | --pooled | --full-disk | --gateway | --workers N | --workflows | --management]
                      [--seed N] [--minutes M]
"""

import argparse
import asyncio
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.support.crashes.campaign import FATES, Field, campaign
from tests.support.crashes.disks import FULL, small_disks
from tests.support.crashes.dying_graph import every_death
from tests.support.crashes.dying_management import every_moment
from tests.support.crashes.failover import FAILOVERS, FailoverField, SlowClient, late
from tests.support.crashes.gateway import gateway_campaign
from tests.support.crashes.pooled import POOLED, PooledField
from tests.support.crashes.workers import WORKER_FATES, WorkersField

MANY, MANY_DELAYS = 100, (0.5, 1.0)
"""So many streams say one or two words a second, and hang up less often: two cores carry them, two nodes, two servers
and every packet between."""

if __name__ == "__main__":  # Nodes are forked from a server that imports the main module again.
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="10,000 faults instead of 300")
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--minutes", type=float, default=44, help="at most")
    parser.add_argument("--home", type=Path, help="where data and logs are kept; without it they go away")
    parser.add_argument("--workflows", action="store_true", help="a graph's server dies at every statement, instead")
    parser.add_argument("--management", action="store_true", help="changes of 26 kinds, at every statement, instead")
    parser.add_argument("--gateway", action="store_true", help="calls of the AI gateway, instead")
    parser.add_argument("--failover", action="store_true", help="the database fails over to its standby, instead")
    parser.add_argument("--workers", type=int, help="one server of so many workers, with a bucket, instead")
    parser.add_argument("--streams", type=int, help="with --failover: so many clients instead of 20, or 200")
    parser.add_argument("--pooled", action="store_true", help="everything goes through PgBouncer, instead")
    parser.add_argument("--full-disk", action="store_true", help="the disks of data and log are full at times, instead")
    parser.add_argument("--every", type=int, help="with --gateway: a fault at each so many bytes")
    options = parser.parse_args()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="stoa-crash-", dir=memory if memory.is_dir() else None) as home:
        Path(home).chmod(0o755)
        if options.workflows:
            print(json.dumps(asyncio.run(every_death(options.home or Path(home) / "data"))))
            raise SystemExit(0)
        if options.management:
            print(json.dumps(asyncio.run(every_moment(options.home or Path(home) / "data"))))
            raise SystemExit(0)
        if options.gateway:
            every = options.every or (1 if options.long else 23)
            data = options.home or Path(home) / "data"
            seconds_max = options.minutes * 60
            report = asyncio.run(
                gateway_campaign(data, seed=options.seed, every=every, at_once=200, kills=6, seconds_max=seconds_max)
            )
            print(json.dumps(report.as_json(), indent=1))
            raise SystemExit(0)
        if options.failover:
            rounds, streams = (30, 200) if options.long else (len(FAILOVERS), 20)
            streams = options.streams or streams
            FailoverField.streams_min = streams // 2
            if streams >= MANY:
                SlowClient.delays, SlowClient.patience, SlowClient.run_seconds_max = MANY_DELAYS, (20, 60), 1_800.0
                SlowClient.answer_seconds_max = 20.0
            report = asyncio.run(
                campaign(
                    options.home or Path(home) / "data",
                    faults=rounds,
                    fates=rounds,
                    seed=options.seed,
                    clients=streams,
                    seconds_max=options.minutes * 60,
                    kinds=FAILOVERS,
                    kind_of_field=FailoverField,
                )
            )
            over_budget = dict(late(report.resumed_seconds))
            print(json.dumps({**report.as_json(), "over_budget_seconds": over_budget}, indent=1))
            raise SystemExit(0)
        if options.workers:
            WorkersField.workers_count = options.workers
            fates = 2_000 if options.long else 3 * len(WORKER_FATES)
            report = asyncio.run(
                campaign(
                    options.home or Path(home) / "data",
                    faults=fates,
                    fates=fates,
                    seed=options.seed,
                    clients=8,
                    seconds_max=options.minutes * 60,
                    kinds=WORKER_FATES,
                    kind_of_field=WorkersField,
                )
            )
            print(json.dumps(report.as_json(), indent=1))
            raise SystemExit(0)
        if options.pooled or options.full_disk:
            with ExitStack() as stack:
                disks = stack.enter_context(small_disks(Path(home))) if options.full_disk else None
                faults, fates = (1_000, 100) if options.long else (40, len(POOLED))
                report = asyncio.run(
                    campaign(
                        disks[0].path / "data" if disks else options.home or Path(home) / "data",
                        faults=faults,
                        fates=fates,
                        seed=options.seed,
                        clients=8,
                        seconds_max=options.minutes * 60,
                        kinds=FULL if disks else POOLED,
                        disks=disks,
                        kind_of_field=Field if disks else PooledField,
                    )
                )
            print(json.dumps(report.as_json(), indent=1))
            raise SystemExit(0)
        faults, fates, clients = (10_000, 500, 20) if options.long else (300, 2 * len(FATES), 8)
        report = asyncio.run(
            campaign(
                options.home or Path(home) / "data",
                faults=faults,
                seed=options.seed,
                clients=clients,
                fates=fates,
                seconds_max=options.minutes * 60,
            )
        )
        print(json.dumps(report.as_json(), indent=1))
