"""Lints the Helm chart and renders it with each file of values in deploy/chart/ci; what comes out stands beside them.

    pip install helm-python-sdk kubernetes-validate
    python tools/deploy/chart.py            # writes deploy/chart/ci/*.rendered
    python tools/deploy/chart.py --check    # says what is wrong, and writes nothing

Helm's own engine does the rendering: helm-python-sdk carries it. The result is checked against the schemas of
Kubernetes where kubernetes-validate is there.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).parents[2] / "deploy" / "chart"
RELEASE: Final = "stoa"
KUBERNETES: Final = ("1.27", "1.33")
"""The oldest that the chart says it runs on, and a current one."""


def digest() -> str:
    """Of everything that the result is made of."""
    found = hashlib.sha256()
    for path in sorted(CHART.rglob("*")):
        if path.is_file() and path.suffix != ".rendered":
            found.update(path.relative_to(CHART).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def cases() -> Sequence[Path]:
    return sorted((CHART / "ci").glob("*.yaml"))


def rendered(values: Mapping[str, Any]) -> str:
    """All manifests in one text. Raises what Helm says."""
    from helm_python import Chart  # noqa: PLC0415 — the rules below need none

    with Chart.load(CHART) as chart:
        chart.validate_schema(dict(values))
        made = chart.render(dict(values), name=RELEASE, namespace="stoa")
    manifests = [
        f"---\n# Source: {name}\n{text.strip()}\n"
        for name, text in sorted(made.items())
        if text.strip() and not name.endswith("NOTES.txt")
    ]
    return f"# sources: {digest()}\n" + "".join(manifests)


def lint(values: Mapping[str, Any]) -> Sequence[str]:
    from helm_python.chart import lint as linted  # noqa: PLC0415

    found = linted(CHART, dict(values), strict=True)
    said = [f"{one['path']}: {one['error']}" for one in found["messages"] if one["severity"] > 1]
    return [*said, *(one for one in found["errors"] if one not in said)]


def against_schemas(text: str) -> Iterator[str]:
    """What Kubernetes would not take; fields that it does not know among it."""
    import kubernetes_validate  # noqa: PLC0415

    for manifest in yaml.safe_load_all(text):
        for version in KUBERNETES if manifest else ():
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{manifest['kind']} ({version}): {error.message}"


def problems(*, write: bool) -> Iterator[str]:
    for case in cases():
        values = yaml.safe_load(case.read_text("utf-8"))
        yield from lint(values)
        text = rendered(values)
        yield from against_schemas(text)
        golden = case.with_suffix(".rendered")
        if write:
            golden.write_text(text, "utf-8")
        elif not golden.exists() or golden.read_text("utf-8") != text:
            yield f"{golden.name} is not what Helm makes of {case.name}: run tools/deploy/chart.py"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--check", action="store_true", help="write nothing")
    found = list(problems(write=not arguments.parse_args().check))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
