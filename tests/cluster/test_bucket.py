"""Two nodes on one bucket: both read what one wrote, and a node that dies amid an upload leaves nothing that stays."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from stoa.app import open_doctor
from stoa.db.checks import Scope
from stoa.settings import Settings
from tests.support.buckets import CREDENTIALS, Fault, bucket_server
from tests.support.nodes import Start

pytestmark = pytest.mark.timeout(120)


async def test_two_nodes_share_a_bucket_and_one_dies_amid_an_upload(
    start: Start, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket_server() as bucket:
        settings = {"STOA_BLOBS": "s3://files/stoa", "STOA_BLOBS_ENDPOINT": bucket.url, **CREDENTIALS}
        async with start(**settings) as (one, two):
            conversation = await one.conversation()
            path, content = f"/v1/conversations/{conversation}/files", os.urandom(20 * 1024 * 1024)
            small = (await one.call("POST", path, 201, files={"file": ("a.txt", b"from one")}))["data"]
            async with two.client() as http:
                assert (await http.get(f"/v1/files/{small['id']}/content")).content == b"from one"
            assert not (one.data_dir / "blobs").exists()

            bucket.reset({2: Fault("hang", forever=True)})
            upload = asyncio.create_task(one.call("POST", path, 201, files={"file": ("b.bin", content)}))
            async with asyncio.timeout(60):
                while len(bucket.requests) < 3:
                    await asyncio.sleep(0.02)
            await one.kill()
            with pytest.raises(httpx.TransportError):
                await upload
            bucket.released.set()
            bucket.reset()
            assert len(bucket.uploads) == 1, "what the dead node had sent"
            assert [file["name"] for file in (await two.call("GET", path))["data"]] == ["a.txt"]
            assert len(bucket.objects) == 1

            large = (await two.call("POST", path, 201, files={"file": ("b.bin", content)}))["data"]
            async with two.client() as http:
                assert (await http.get(f"/v1/files/{large['id']}/content")).content == content
            assert len(bucket.uploads) == 1

            for name, value in CREDENTIALS.items():
                monkeypatch.setenv(name, value)
            for left in bucket.uploads.values():
                left.began_at -= timedelta(hours=2)
            chosen = Settings(data_dir=tmp_path / "other", blobs="s3://files/stoa", blobs_endpoint=bucket.url)
            async with open_doctor(chosen, dsn) as doctor:
                report = await doctor.examine(Scope())
                assert [one.name for one in report.diagnoses if one.findings] == ["blobs.orphans"]
                assert [repaired.done async for repaired in doctor.repair(report)] == [True]
                assert (await doctor.examine(Scope())).healthy
            assert bucket.uploads == {}
            assert len(bucket.objects) == 2
