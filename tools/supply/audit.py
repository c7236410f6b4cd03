"""Looks the locked packages up among published vulnerabilities, where that data can be reached: `make audit`.

Ends with 1 when one of them is known to be vulnerable. Where the data cannot be reached it says so and ends with 0:
a build without a network is no finding.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SECONDS_MAX: Final = 120
COMMAND: Final = ("--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off")


def main() -> int:
    lock = ROOT / "requirements" / "run.txt"
    command = [sys.executable, "-m", "pip_audit", "-r", str(lock), *COMMAND]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        packages = []
    looked_up = [package for package in packages if "vulns" in package]
    if not looked_up:
        print("audit: skipped, the published vulnerabilities cannot be reached from here")
        return 0
    found = [(package, vulnerability) for package in looked_up for vulnerability in package["vulns"]]
    for package, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"audit: {package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}")
    print(f"audit: {len(looked_up)} of {len(packages)} packages looked up, {len(found)} known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
