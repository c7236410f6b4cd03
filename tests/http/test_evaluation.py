"""A base's search measured over HTTP and from the command line."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from typer.testing import CliRunner

from stoa.cli.main import app
from tests.conftest import FIRST_KEY, Running

FILES = {
    "travel.md": b"# Travel\n\nTrains are booked by the office. A hotel may cost 140 euros a night.",
    "sick.md": b"# Sick leave\n\nWhoever is ill tells the team by nine o'clock. "
    b"After three days a doctor's note is needed, form HR-4711.",
    "keys.md": b"# Keys\n\nThe key of the bicycle cellar hangs at the reception.",
}
GOLDEN = [
    {"query": "what may an overnight stay cost", "relevant": ["travel.md"]},
    {"query": "HR-4711", "relevant": {"sick.md": 3}},
    {"query": "where do I park my bike", "relevant": ["keys.md"]},
]


async def base_of(server: Running) -> str:
    base_id = (await server.call("POST", "/v1/knowledgebases", 201, json={"name": "Handbook"}))["data"]["id"]
    files = [("files", (name, io.BytesIO(content))) for name, content in FILES.items()]
    await server.call("POST", f"/v1/knowledgebases/{base_id}/upload", 201, files=files)
    async with asyncio.timeout(60):
        while {
            item["status"] for item in (await server.call("GET", f"/v1/knowledgebases/{base_id}/items"))["data"]
        } != {"processed"}:
            await asyncio.sleep(0.03)
    return str(base_id)


async def test_a_golden_set_is_judged(running: Running, tmp_path: Path) -> None:
    base_id = await base_of(running)
    url = f"/v1/knowledgebases/{base_id}/evaluate"
    found = (await running.call("POST", url, json={"queries": GOLDEN}))["data"]
    assert [one["name"] for one in found["settings"]] == ["hybrid", "keyword", "semantic"]
    hybrid, keyword, _ = found["settings"]
    assert [one["mrr"] for one in hybrid["queries"]] == [1.0, 1.0, 1.0]
    assert keyword["queries"][1] == {"query": "HR-4711", "ndcg_at_10": 1.0, "recall_at_10": 1.0, "mrr": 1.0}
    assert keyword["measures"]["mrr"]["mean"] < 1, "no word of the last question stands in its answer"
    [less, _] = found["differences"]
    assert (less["name"], less["than"], less["measures"]["mrr"]["mean"] < 0) == ("keyword", "hybrid", True)
    assert found["probe"] == {"recall_at_10": 1.0, "queries": 3, "method": "exact"}
    weighed = (
        await running.call("POST", url, json={"queries": GOLDEN, "settings": [{"mode": "hybrid", "alpha": 0.2}, {}]})
    )["data"]
    assert [one["name"] for one in weighed["settings"]] == ["hybrid alpha 0.2", "as configured"]
    item_id = (await running.call("GET", f"/v1/knowledgebases/{base_id}/items?sort=name"))["data"][0]["id"]
    by_id = (
        await running.call(
            "POST",
            url,
            json={"queries": [{"query": "bicycle", "relevant": [item_id]}], "settings": [{"mode": "keyword"}]},
        )
    )["data"]
    assert by_id["settings"][0]["measures"]["ndcg_at_10"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert "probe" not in by_id
    await bad_sets(running, url, item_id)
    await the_command_line(running, base_id, tmp_path)


async def bad_sets(running: Running, url: str, item_id: str) -> None:
    one = GOLDEN[0]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"queries": []}, "queries"),
        ({"queries": [one] * 501}, "queries"),
        ({"queries": [{"query": " ", "relevant": ["travel.md"]}]}, "queries[0].query"),
        ({"queries": [one, {"query": "x", "relevant": ["nothing.md"]}]}, "queries[1].relevant[0]"),
        ({"queries": [{"query": "x", "relevant": [item_id, str(uuid4())]}]}, "queries[0].relevant[1]"),
        ({"queries": [one], "settings": [{"mode": "magic"}]}, "settings[0].mode"),
        ({"queries": [one], "settings": [{"mode": "hybrid"}, {"mode": "hybrid"}]}, "settings[1].name"),
        ({"queries": [one], "settings": [{}] * 5}, "settings"),
    ]
    for body, field in cases:
        error = (await running.call("POST", url, 400, json=body))["error"]
        assert list(error["details"]) == [field], (body, error)
    await running.call("POST", f"/v1/knowledgebases/{uuid4()}/evaluate", 404, json={"queries": [one]})


async def the_command_line(running: Running, base_id: str, tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    golden.write_text("\n".join(json.dumps(one) for one in GOLDEN), "utf-8")
    environment = {"STOA_URL": running.url, "STOA_KEY": FIRST_KEY, "COLUMNS": "200"}

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["kb", "evaluate", "Handbook", str(golden), *arguments], env=environment)
        return done.exit_code, done.output

    status, output = await asyncio.to_thread(run, "--setting", "hybrid", "--setting", "hybrid:0.2")
    assert status == 0, output
    assert "hybrid alpha 0.2 - hybrid" in output
    assert "nearest neighbours found: 1.000" in output
    status, output = await asyncio.to_thread(run, "--json")
    whole, _ = json.JSONDecoder().raw_decode(
        output, output.index("{\n")
    )  # The server beside it logs to the same output.
    assert len(whole["settings"]) == 3
    golden.write_text("{no json", "utf-8")
    status, output = await asyncio.to_thread(run)
    assert (status, "neither JSON nor JSON lines" in output) == (1, True)
