"""The operator's page names every check of the doctor, every metric, and every line of the log that is a warning or worse."""

import re
from pathlib import Path
from typing import Any, cast

import yaml
from prometheus_client.parser import text_string_to_metric_families

from stoa import bases, conversations, runs
from stoa import journal as journals
from tests.conftest import Running
from tests.support.pages import blocks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guide" / "operate.md").read_text("utf-8")
NODES_OWN = ("runs", "journal", "db", "doctor", "kernel", "http")


def test_every_check_stands_there() -> None:
    nothing = cast("Any", None)
    for check in [
        *journals.checks(nothing),
        *runs.checks(nothing),
        *conversations.checks(nothing, nothing),
        *bases.checks(nothing, nothing, nothing),
    ]:
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{check.name}` |"))
        assert f"| {check.promise} |" in row
        assert (row.split("|")[3].strip() != "") == (check.repair is not None), check.name


def test_every_warning_stands_there() -> None:
    said: set[str] = set()
    for folder in NODES_OWN:
        for path in (ROOT / "src" / "stoa" / folder).rglob("*.py"):
            said |= set(re.findall(r'_log\.(?:warning|error|exception)\(\s*"([^"]+)"', path.read_text("utf-8")))
    assert len(said) >= 8
    assert [line for line in said if f"`{line}`" not in PAGE] == []


async def test_every_metric_stands_there(shared_server: Running) -> None:
    await shared_server.ask(await shared_server.conversation())
    found = text_string_to_metric_families((await shared_server.client.get("/metrics")).text)
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
