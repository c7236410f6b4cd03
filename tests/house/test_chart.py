"""The Helm chart in deploy/chart: what Helm makes of it, by the rules that a cluster's operators would ask for.

What Helm made stands in deploy/chart/ci with a digest of what it was made of, since Helm's engine is no dependency of
the tests: `tools/deploy/chart.py` asks it, and lints, whenever the chart changes."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoa import __version__
from stoa.settings import variables

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "chart"
TOOL = ROOT / "tools" / "deploy" / "chart.py"
CASES = sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))


def manifests(case: str) -> dict[str, Any]:
    """Kind → manifest; there is one of each."""
    text = (CHART / "ci" / f"{case}.rendered").read_text("utf-8")
    found = [one for one in yaml.safe_load_all(text) if one]
    kinds = [one["kind"] for one in found]
    assert len(kinds) == len(set(kinds)), kinds
    return {one["kind"]: one for one in found}


def pod(case: str) -> dict[str, Any]:
    return manifests(case)["Deployment"]["spec"]["template"]["spec"]


def variables_of(case: str) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod(case)["containers"][0]["env"]}


def test_generated_files_of_the_chart_are_current() -> None:
    digest = runpy.run_path(str(TOOL))["digest"]()
    for case in CASES:
        first = (CHART / "ci" / f"{case}.rendered").read_text("utf-8").split("\n", 1)[0]
        assert first == f"# sources: {digest}", "run tools/deploy/chart.py"


def test_its_version_is_the_wheel_s() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["appVersion"] == __version__


@pytest.mark.parametrize("case", CASES)
def test_nodes_may_do_nothing_but_their_work(case: str) -> None:
    spec, (container,) = pod(case), pod(case)["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {one["mountPath"] for one in container["volumeMounts"]} >= {"/data", "/tmp"}
    assert "memory" in container["resources"]["limits"]
    assert spec["shareProcessNamespace"] is True


@pytest.mark.parametrize("case", CASES)
def test_no_run_is_lost_when_nodes_come_and_go(case: str) -> None:
    deployment, (container,) = manifests(case)["Deployment"], pod(case)["containers"]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drains = float(variables_of(case)["STOA_DRAIN_SECONDS_MAX"])
    assert pod(case)["terminationGracePeriodSeconds"] > waits + drains
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] >= 1800
    assert manifests(case)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("case", CASES)
def test_settings_are_the_server_s_and_secrets_are_none_of_them(case: str) -> None:
    names = set(variables_of(case))
    assert names <= set(variables())
    assert not {name for name in names if re.search(r"KEY|SECRET|PASSWORD|TOKEN|DATABASE_URL|HEADERS", name)}
    assert not [value for value in variables_of(case).values() if "e+" in value], "Helm reads numbers as floats"
    assert pod(case)["containers"][0]["envFrom"] == [{"secretRef": {"name": "stoa"}}]


@pytest.mark.parametrize("case", CASES)
def test_labels_and_selectors_of_the_chart_match(case: str) -> None:
    made = manifests(case)
    labels = made["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for chosen in (
        made["Deployment"]["spec"]["selector"]["matchLabels"],
        made["Service"]["spec"]["selector"],
        made["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert chosen.items() <= labels.items()
    assert pod(case)["serviceAccountName"] == made["ServiceAccount"]["metadata"]["name"]


def test_files_in_a_bucket_need_no_volume() -> None:
    made = manifests("bucket")
    assert "PersistentVolumeClaim" not in made
    assert "Secret" not in made
    assert variables_of("bucket")["STOA_BLOBS"] == "s3://stoa/files"
    assert variables_of("bucket")["STOA_BLOBS_ALLOW_HTTP"] == "true"
    hosts = [rule["host"] for rule in made["Ingress"]["spec"]["rules"]]
    assert hosts == ["stoa.example.com", "*.kb.example.com", "*.apps.example.com"]
    assert made["Ingress"]["spec"]["tls"][0]["hosts"] == hosts


def test_a_volume_is_one_that_all_nodes_mount_and_outlives_the_release() -> None:
    made = manifests("volume")
    claim = made["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    names = [one.get("persistentVolumeClaim", {}).get("claimName") for one in pod("volume")["volumes"]]
    assert claim["metadata"]["name"] in names
    assert "replicas" not in made["Deployment"]["spec"], "the autoscaler decides"
    assert made["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == made["Deployment"]["metadata"]["name"]
    assert set(made["Secret"]["stringData"]) >= {"STOA_DATABASE_URL", "STOA_SECRET_KEY", "STOA_BOOTSTRAP_KEY"}
