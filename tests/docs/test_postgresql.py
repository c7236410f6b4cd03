"""The guide to a PostgreSQL of one's own: its SQL gives the rights that Stoa needs, its PgBouncer serves two nodes."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from stoa.db.connecting import UnreachableError, connect
from stoa.db.migrate import SchemaError, migrate
from stoa.settings import SettingsError, load
from tests.conftest import Running, serving
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.nodes import Way
from tests.support.pages import ROOT, blocks
from tests.support.poolers import execute, pooler
from tests.support.tls import Authority

GUIDE = ROOT / "docs/guide/postgresql.md"
OWNER = "stoa_owner"
ADMINISTRATOR = "stoa_administrator"
SESSIONS = "sessions"


def statements(block: str) -> list[str]:
    """Of the guide's SQL, with the owner's name of this test instead of `stoa`, which is a superuser here."""
    return [re.sub(r"\bstoa\b", OWNER, one).strip() for one in block.split(";") if one.strip()]


@pytest.fixture(scope="module")
async def owned(cluster: Databases) -> AsyncIterator[str]:
    """The dsn of a database that was made by the guide's SQL, for the user that owns it and is no superuser."""
    server, database = blocks(GUIDE, "sql")
    # As the administrator of a managed service, who is no superuser either. The tenants' role was there before.
    await cluster.execute(f"CREATE ROLE {ADMINISTRATOR} LOGIN CREATEROLE CREATEDB")
    await cluster.execute(f"GRANT stoa_tenant TO {ADMINISTRATOR} WITH ADMIN OPTION")
    made = [one for one in statements(server) if not one.startswith("CREATE ROLE stoa_tenant")]
    assert len(made) == len(statements(server)) - 1
    await execute(as_user(cluster("stoa"), ADMINISTRATOR), *made)
    await execute(cluster(OWNER), *statements(database))  # What managed services let their administrators do.
    yield as_user(cluster(OWNER), OWNER)
    await cluster.drop(OWNER)
    await cluster.execute(f"DROP ROLE {OWNER}")
    await cluster.execute(f"DROP OWNED BY {ADMINISTRATOR}")
    await cluster.execute(f"DROP ROLE {ADMINISTRATOR}")


def as_user(dsn: str, user: str) -> str:
    return dsn.replace("://stoa@", f"://{user}@")


@pytest.fixture(scope="module")
async def way(owned: str) -> AsyncIterator[Way]:
    """PostgreSQL lets in who runs the tests. PgBouncer, which may not be root, comes to it through this process."""
    async with Way(owned) as made:
        yield made


@pytest.fixture(scope="module")
def authority(room: Path) -> Authority:
    folder = room / f"postgresql-{uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    made = Authority(folder)
    made.key_file.chmod(0o644)  # The account of PgBouncer reads it.
    return made


@pytest.fixture(scope="module")
async def bouncer(way: Way, authority: Authority, room: Path) -> AsyncIterator[str]:
    """`host:port` of the guide's PgBouncer: with very few sessions, so that transactions of all connections meet in
    them."""
    [block] = blocks(GUIDE, "ini")
    home = room / f"pgbouncer-{uuid4().hex[:8]}"
    host, port = way.address
    text = block.replace("stoa = host=db.internal port=5432 dbname=stoa", f"{OWNER} = host={host} port={port}")
    assert text != block
    users = authority.bundle_file.with_name("userlist.txt")
    users.write_text(f'"{OWNER}" ""\n')
    changes = {
        "auth_type": "trust",
        "auth_file": str(users),
        "default_pool_size": "3",
        "client_tls_sslmode": "allow",
        "client_tls_cert_file": str(authority.chain_file),
        "client_tls_key_file": str(authority.key_file),
    }
    async with pooler(home, text, **changes) as made:
        yield made


def over(address: str, parameters: str = "") -> str:
    return f"postgresql://{OWNER}@{address}/{OWNER}{parameters}"


@pytest.mark.timeout(120)
async def test_two_nodes_behind_pgbouncer(owned: str, bouncer: str, tmp_path: Path) -> None:
    """With the rights of the guide, in transaction mode; all that a session holds goes past it."""
    sessions = {"database_session_url": f"{owned}&application_name={SESSIONS}", "database_url": over(bouncer)}
    async with (
        serving(over(bouncer), tmp_path / "a", ScriptedModel(), **sessions) as one,
        serving(over(bouncer), tmp_path / "b", ScriptedModel(), **sessions) as other,
    ):
        answers = await asyncio.gather(*(talk(node) for node in [one, other] * 4))
        assert {answer["status"] for answer in answers} == {"completed"}
        for run in answers:  # What one node has written, the other reads.
            assert (await other.events(run["id"]))[-1]["type"] == "run.completed"
        # Its checks use cursors, on both nodes at once.
        for report in await asyncio.gather(*(node.call("GET", "/v1/doctor") for node in (one, other))):
            assert report["data"]["healthy"], report
        connection = await asyncpg.connect(owned)
        rows = await connection.fetch(
            "SELECT application_name, count(*) AS n FROM pg_stat_activity"
            " WHERE datname = $1 AND pid <> pg_backend_pid() GROUP BY 1",
            OWNER,
        )
        await connection.close()
        counted = {row["application_name"]: row["n"] for row in rows}
        assert counted[SESSIONS] in (6, 7, 8), "LISTEN, lease and journal of two nodes; their upkeep now and then"
        assert counted.get("", 0) <= 3 + 1, "everything else shares the pooler's sessions"


async def talk(node: Running) -> dict[str, object]:
    answer: dict[str, object] = await node.ask(await node.conversation(), "Hi")
    return answer


async def test_a_pooler_in_transaction_mode_is_noticed(owned: str, bouncer: str, dsn: str) -> None:
    with pytest.raises(SchemaError, match=r"STOA_DATABASE_URL leads to a pooler in transaction mode.*SESSION_URL"):
        await migrate(over(bouncer))
    with pytest.raises(SchemaError, match="SESSION_URL leads to a pooler in transaction mode"):
        await migrate(over(bouncer), session_dsn=over(bouncer))
    with pytest.raises(SchemaError, match="different databases"):
        await migrate(over(bouncer), session_dsn=dsn)
    await migrate(over(bouncer), session_dsn=owned)
    with pytest.raises(SettingsError, match="database_session_url goes with database_url"):
        load({"STOA_DATABASE_SESSION_URL": owned}, {})


async def test_a_pooler_in_session_mode_is_a_server(way: Way, room: Path) -> None:
    host, port = way.address
    text = f"[databases]\n{OWNER} = host={host} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nauth_type = any\n"
    text = text.replace(f"port={port}", f"port={port} user={OWNER}")
    async with pooler(
        room / f"sessions-{uuid4().hex[:8]}", text, pool_mode="session", default_pool_size="9"
    ) as address:
        await migrate(over(address))


async def test_tls_is_checked(bouncer: str, authority: Authority, room: Path, way: Way) -> None:
    port = bouncer.rpartition(":")[2]
    full = f"?sslmode=verify-full&sslrootcert={authority.bundle_file}"
    for host, parameters in (
        ("localhost", full),
        ("127.0.0.2", full.replace("verify-full", "verify-ca")),  # A name is not asked for.
        ("127.0.0.2", "?sslmode=require"),  # Nobody is asked for anything.
        ("127.0.0.1", "?sslmode=disable"),
    ):
        await (await connect(over(f"{host}:{port}", parameters), command_seconds_max=10)).close()
    nobody = room / f"nobody-{uuid4().hex[:8]}"
    nobody.mkdir()
    for host, parameters, said in (
        ("127.0.0.2", full, r"its certificate is not accepted: IP address mismatch.*by a name that stands in"),
        ("localhost", full.replace(str(authority.bundle_file), str(Authority(nobody).bundle_file)), "not accepted"),
        (
            "localhost",
            "?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
            r"\(sslrootcert, sslcert, sslkey\) must be there",
        ),
    ):
        with pytest.raises(UnreachableError, match=said):
            await connect(over(f"{host}:{port}", parameters), command_seconds_max=10)
    late = room / f"late-{uuid4().hex[:8]}"
    late.mkdir(mode=0o755)
    expired = Authority(late, expired=True)
    expired.key_file.chmod(0o644)
    host, port_behind = way.address
    text = f"[databases]\n{OWNER} = host={host} port={port_behind} user={OWNER}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
    changes = {
        "auth_type": "any",
        "client_tls_sslmode": "require",
        "client_tls_cert_file": str(expired.chain_file),
        "client_tls_key_file": str(expired.key_file),
    }
    async with pooler(room / f"expired-{uuid4().hex[:8]}", text, **changes) as address:
        where = over(
            address.replace("127.0.0.1", "localhost"), f"?sslmode=verify-full&sslrootcert={expired.bundle_file}"
        )
        with pytest.raises(UnreachableError, match="certificate has expired"):
            await connect(where, command_seconds_max=10)
        with pytest.raises(UnreachableError):
            await connect(over(address, "?sslmode=disable"), command_seconds_max=10)
    async with Way("postgresql://nobody@/x?host=/nowhere&port=5432") as plain:
        with pytest.raises(UnreachableError, match="Cannot connect"):
            await connect(
                f"{plain.dsn}?sslmode=verify-full&sslrootcert={authority.bundle_file}", command_seconds_max=10
            )


async def test_what_is_missing_is_said(cluster: Databases, owned: str) -> None:
    """Each right that the guide gives, taken away: the start says the statement that gives it back."""
    name = f"rights_{uuid4().hex[:8]}"
    await cluster.execute(f"CREATE DATABASE {name}")
    try:
        theirs = as_user(cluster(name), OWNER)
        with pytest.raises(SchemaError, match=r"may not create the extension.*CREATE EXTENSION vector;"):
            await migrate(theirs)
        await execute(cluster(name), "CREATE EXTENSION vector")
        await cluster.execute(f"REVOKE stoa_tenant FROM {OWNER} GRANTED BY {ADMINISTRATOR}")
        with pytest.raises(SchemaError, match=f"may not become the role stoa_tenant.*: GRANT stoa_tenant TO {OWNER};"):
            await migrate(theirs)
        await cluster.execute(f"GRANT stoa_tenant TO {OWNER}")
        with pytest.raises(SchemaError, match=f"permission denied.*ALTER DATABASE {name} OWNER TO {OWNER};"):
            await migrate(theirs)
        await migrate(cluster(name))  # As somebody else, who then owns the tables.
        await execute(
            cluster(name),
            f"GRANT ALL ON SCHEMA public TO {OWNER}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {OWNER}",
        )
        with pytest.raises(SchemaError, match=f"row-level security hides.*REASSIGN OWNED BY <who.*> TO {OWNER};"):
            await migrate(theirs)
    finally:
        await cluster.drop(name)
