"""A real process, real sockets, real signals: what a person does at a terminal."""

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.processes import ENVIRONMENT, KEY, STOA, serve, url_of


async def test_the_printed_lines_work_when_pasted_and_ctrl_c_ends_well(room: Path) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not on this machine")
    async with serve(room / "paste", typed=True) as (process, said):
        lines = "\n".join(line for line in said if line.startswith(("MODEL=", "CONVERSATION=", "curl -sN")))
        assert lines.count("\n") == 2
        shell = await asyncio.create_subprocess_exec("sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        async with asyncio.timeout(30):
            out, _ = await shell.communicate(lines.encode())
        assert b"event: run.completed" in out, out
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    async with serve(room / "paste", typed=True) as (_, said):
        assert not any("stoa_acc_" in line for line in said), "the first key is shown once"


async def test_two_servers_on_one_data_directory_serve_one_another(room: Path) -> None:
    async with (
        serve(room / "two", typed=True, STOA_BOOTSTRAP_KEY=KEY) as (first, said),
        serve(room / "two", typed=True, STOA_BOOTSTRAP_KEY=KEY) as (_, said_too),
    ):
        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            httpx.AsyncClient(base_url=url_of(said), headers=headers) as one,
            httpx.AsyncClient(base_url=url_of(said_too), headers=headers) as two,
        ):
            model = (await one.get("/v1/router/models")).json()["data"][0]["id"]
            conversation = (await one.post("/v1/conversations", json={"model_id": model})).json()["data"]["id"]
            run = await two.post(
                f"/v3/conversations/{conversation}/messages", json={"content": "Hi", "background": True}
            )
            followed = await one.get(f"/v1/runs/{run.json()['data']['id']}/stream", timeout=20)
            assert "event: run.completed" in followed.text
            first.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                assert await first.wait() == 0
            assert (await two.get("/ready")).status_code == 200


async def test_ctrl_c_while_the_database_is_unavailable_exits_cleanly(room: Path) -> None:
    home = room / "gone"
    with (room / "gone.log").open("wb") as log:
        async with serve(home, typed=True, stderr=log) as (process, _):
            postmaster = int((home / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGKILL)
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(30):
                assert await process.wait() == 0
    assert b"Traceback" not in (room / "gone.log").read_bytes()


async def test_keys_by_command_line(room: Path) -> None:
    async with serve(room / "keys", typed=True, STOA_BOOTSTRAP_KEY=KEY) as (_, said):
        environment = {**ENVIRONMENT, "STOA_KEY": KEY, "STOA_URL": url_of(said), "COLUMNS": "200"}

        async def stoa(*arguments: str) -> tuple[int, str]:
            process = await asyncio.create_subprocess_exec(
                *STOA, *arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            async with asyncio.timeout(30):
                out, _ = await process.communicate()
            assert process.returncode is not None
            return process.returncode, out.decode()

        code, made = await stoa("keys", "create", "ci", "--permission", "runs:read")
        assert (code, made[:9]) == (0, "stoa_acc_")
        _, listed = await stoa("keys", "list")
        assert "ci" in listed
        key_id = next(line.split()[0] for line in listed.splitlines() if " ci " in line)
        code, revoked = await stoa("keys", "revoke", key_id)
        assert (code, revoked.startswith("revoked: ci stoa_acc_")) == (0, True)
        code, said_of_it = await stoa("keys", "revoke", key_id)
        assert code == 1
        assert "There is no access key" in said_of_it
        # Beside the server that runs.
        code, scrubbed = await stoa("scrub", "--data-dir", str(room / "keys"))
        assert code == 0, scrubbed
        assert "Nothing deleted is left" in scrubbed
        code, refused = await stoa("scrub", "--data-dir", str(room / "nowhere"))
        assert (code, "There is no database in" in refused) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--port", "99999"], {}, "port"),
        (["--config", "nowhere.toml"], {}, "nowhere.toml"),
        ([], {"STOA_RUNS_MAX": "many"}, "STOA_RUNS_MAX"),
        (["--port", "0"], {"STOA_BOOTSTRAP_KEY": "short"}, "STOA_BOOTSTRAP_KEY"),
        (
            ["--port", "0"],
            {"STOA_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/x"},
            "127.0.0.1:9, database x, as user nobody",
        ),
        (["--port", "0"], {"STOA_PROT": "1"}, "did you mean STOA_PORT?"),
    ],
)
def test_what_cannot_start_says_why(room: Path, arguments: list[str], environment: dict[str, str], words: str) -> None:
    done = subprocess.run(
        [*STOA, "serve", "--data-dir", str(room / "refused"), *arguments],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
