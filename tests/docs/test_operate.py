"""The operator's page names every check of the doctor, every metric, and every line of the log that is a warning or
worse."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stoa import bases, conversations, runs
from stoa import journal as journals
from stoa.cli.workers.counts import Counts
from stoa.db import node as nodes
from stoa.http.metrics import registry
from stoa.kernel.snapshots import metrics_of
from tests.conftest import Running
from tests.support.pages import blocks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guide" / "operate.md").read_text("utf-8")


def test_every_check_is_documented() -> None:
    nothing = cast("Any", None)
    for check in [
        *journals.checks(nothing),
        *runs.checks(nothing),
        *nodes.checks(),
        *conversations.checks(nothing, nothing),
        *bases.checks(nothing, nothing, nothing),
    ]:
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{check.name}` |"))
        assert f"| {check.promise} |" in row
        assert (row.split("|")[3].strip() != "") == (check.repair is not None), check.name


def logged() -> Iterator[tuple[str, str, str]]:
    """(file, level, event) of every call of a logger that is a warning or worse."""
    levels = {"warning": "warning", "error": "error", "exception": "error", "critical": "error"}
    for path in sorted((ROOT / "src" / "stoa").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in levels:
                receiver = ast.unparse(node.func.value)
                if "log" in receiver.lower() and node.args:
                    for part in ast.walk(node.args[0]):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield path.name, levels[node.func.attr], part.value


def test_every_warning_is_documented() -> None:
    rows = {
        event: level
        for cells, level in re.findall(r"^\| ([^|]+) \| (error|warning|info) \|", PAGE, re.MULTILINE)
        for event in re.findall(r"`([^`]+)`", cells)
    }
    found = list(logged())
    assert len(found) >= 15
    missing = {f"{event} ({level}, {file})" for file, level, event in found if event not in rows}
    assert not missing, "add these to the table of the log in docs/guide/operate.md"
    assert not {f"{event} is {level} ({file})" for file, level, event in found if rows[event] != level}
    said = {event for _, _, event in found}
    assert not {event for event, level in rows.items() if level != "info"} - said - {"logger"}, "these are not logged"


async def test_every_metric_is_documented(shared_server: Running) -> None:
    await shared_server.ask(await shared_server.conversation())
    of_workers = generate_latest(registry("", metrics_of(Counts().page(1, [], {})), process=False)).decode()
    found = [
        *text_string_to_metric_families((await shared_server.client.get("/metrics")).text),
        *text_string_to_metric_families(of_workers),
    ]
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in found
        if family.name.startswith("stoa_")
    }
    rows = {
        name: (labels, says)
        for name, labels, says in re.findall(r"^\| `(stoa_\w+)` \| ([\w, ]*)\| (.+) \|$", PAGE, re.MULTILINE)
    }
    assert rows.keys() == families.keys()
    for name, (labels, says) in rows.items():
        family = families[name]
        assert says == family.documentation
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == {label.strip() for label in labels.split(",") if label.strip()}, (
                name
            )
    asked = set(re.findall(r"\bstoa_[a-z_]+", PAGE.partition("Some questions")[2].partition("Beside the")[0]))
    assert {name.removesuffix("_bucket") for name in asked} <= rows.keys()


def test_the_scrape_config_is_one() -> None:
    (config,) = [yaml.safe_load(block) for block in blocks(ROOT / "docs/guide/operate.md", "yaml")]
    assert config["scrape_configs"][0]["authorization"]["credentials"]
