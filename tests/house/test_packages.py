"""What is in deploy/: the rules that a linter would check, where there is no engine to build with."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoa.settings import variables

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OUTSIDE = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}


def instructions() -> list[tuple[str, str]]:
    """Of the container file, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    begin = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[begin:]


def test_the_container_has_stages_and_only_the_first_has_what_builds() -> None:
    stages = [value for name, value in instructions() if name == "FROM"]
    assert len(stages) >= 2
    assert all(":" in stage and "latest" not in stage for stage in stages), "images have versions"
    assert not [value for name, value in last_stage() if name == "RUN" and ("pip" in value or "apt-get" in value)]
    assert [value for name, value in last_stage() if name == "COPY"] == ["--from=build /opt/stoa /opt/stoa"]


def test_the_container_runs_as_nobody_s_account() -> None:
    names = [name for name, _ in last_stage()]
    user = dict(last_stage())["USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), "a number, so that Kubernetes can tell that it is not root"
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "USER" not in names[names.index("USER") + 1 :]


def test_the_container_installs_what_is_locked_and_nothing_else() -> None:
    pip = [value for name, value in instructions() if name == "RUN" and "pip install" in value]
    for value in pip:
        for command in re.findall(r"pip install[^&]*", value):
            assert "--require-hashes" in command or "--no-index" in command, command
            assert "--no-deps" in command, command


def test_the_container_s_other_rules() -> None:
    found = instructions()
    assert not [value for name, value in found if name == "ADD"], "COPY says what it does"
    settings = dict(last_stage())
    for name in ("ENTRYPOINT", "CMD"):
        assert settings[name].startswith("["), "a shell would keep signals from the server"
    assert settings["STOPSIGNAL"] == "SIGTERM"
    assert "/health" in settings["HEALTHCHECK"]
    assert settings["VOLUME"] == "/data"
    given = re.findall(r"(\w+)=", settings["ENV"])
    assert {name for name in given if name.startswith("STOA_")} <= set(variables())
    secrets = [
        value for name, value in found if name in ("ENV", "ARG") and re.search("KEY|SECRET|PASSWORD|TOKEN", value)
    ]
    assert not secrets, "a secret in an image is none"
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignored
    for _, value in (one for one in found if one[0] == "COPY" and "--from" not in one[1]):
        for source in value.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, f"{source} is not sent to the engine"


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))


def test_the_compose_file_has_nodes_that_share_what_they_must() -> None:
    services = compose()["services"]
    node = services["node"]
    assert node["deploy"]["replicas"] >= 2
    names = set(node["environment"])
    assert names - OUTSIDE <= set(variables())
    assert {"STOA_DATABASE_URL", "STOA_SECRET_KEY", "STOA_BOOTSTRAP_KEY"} <= names
    for name in ("STOA_SECRET_KEY", "STOA_BOOTSTRAP_KEY"):
        assert ":?" in node["environment"][name], "without it nothing starts, and it says why"
    assert node["volumes"] == ["files:/data"]
    assert node["init"] is True
    assert node["cap_drop"] == ["ALL"]
    assert node["depends_on"]["database"] == {"condition": "service_healthy"}
    assert int(node["stop_grace_period"].removesuffix("s")) > 10, "longer than STOA_DRAIN_SECONDS_MAX"
    for service in services.values():
        image = service["image"]
        assert image == "stoa" or re.search(r":\d", image), image
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "open to this machine alone until somebody decides otherwise"
    used = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert used == set(compose()["volumes"])


class _Merging(yaml.SafeLoader):
    """Reads what Compose adds to YAML."""


_Merging.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def test_files_may_lie_in_an_s3_server_that_compose_starts_too() -> None:
    text = (DEPLOY / "compose.s3.yaml").read_text("utf-8")
    made = yaml.load(text, _Merging)
    node, server, bucket = (made["services"][name] for name in ("node", "objects", "bucket"))
    assert set(node["environment"]) - OUTSIDE <= set(variables())
    assert re.match(r"\$\{STOA_BLOBS:-s3://stoa", node["environment"]["STOA_BLOBS"])
    assert ":8333" in node["environment"]["STOA_BLOBS_ENDPOINT"]
    assert "-s3.port=8333" in server["command"]
    assert "!override" in text, "the shared volume is not added to"
    assert node["volumes"] == ["/data"]
    assert node["depends_on"] == {"bucket": {"condition": "service_completed_successfully"}}
    assert bucket["depends_on"] == {"objects": {"condition": "service_healthy"}}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert ":?" in node["environment"][name], "without it nothing starts, and it says why"
        assert name in made["configs"]["objects"]["content"]
    assert "ports" not in server, "nodes reach it, and nobody else"
    assert re.search(r":\d", server["image"])
    assert bucket["image"] == server["image"]


def unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "stoa.service").read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_stops_the_server_before_its_database() -> None:
    found = unit()
    assert found["KillMode"] == ["mixed"], "SIGTERM for the server alone: PostgreSQL is its child"
    assert int(found["TimeoutStopSec"][0]) > 10
    assert "MemoryDenyWriteExecute" not in found, "PostgreSQL and onnxruntime compile at run time"
    given = re.findall(r"(STOA_\w+)=", found["Environment"][0])
    assert set(given) <= set(variables())


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not on this machine")
    unit_file = tmp_path / "stoa.service"
    text = (DEPLOY / "stoa.service").read_text("utf-8")
    unit_file.write_text(text.replace("/opt/stoa/bin/stoa", "/bin/true"), "utf-8")
    said = subprocess.run([analyze, "verify", str(unit_file)], capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, [line for line in said.stderr.splitlines() if "stoa.service" in line]) == (0, []), (
        said.stderr
    )
    judged = subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=25", str(unit_file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-2000:]


NOTES = runpy.run_path(str(ROOT / "tools/supply/release_notes.py"))


def test_the_changelog_can_be_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert NOTES["problems"](text) == []
    assert "### Added" in NOTES["sections"](text)["Unreleased"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("## [1.0.0] - 2026-01-01\n", "the first section is [Unreleased]"),
        ("## [Unreleased]\n\n## [1.0.0]\n", "[1.0.0] has no date"),
        ("## [Unreleased]\n\n## [1.0.0] - 2026-01-01\n\n## [1.1.0] - 2026-01-02\n", "the newest version stands first"),
        ("## [Unreleased]\n\n### New\n", "[Unreleased]: New is none of"),
        ("## [Unreleased]\n\n### Added\n\n### Added\n", "[Unreleased] has Added twice"),
        ("## [Unreleased]\n\n## [one] - 2026-01-01\n", "a version is no number"),
    ],
)
def test_what_is_wrong_with_a_changelog_is_said(text: str, said: str) -> None:
    assert any(one.startswith(said) for one in NOTES["problems"](text)), NOTES["problems"](text)
