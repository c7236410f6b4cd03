"""The doctor: runs checks of invariants, counts violations, and repairs what is safe. Knows no other slice; each brings
its checks. The public interface."""

from stoa.doctor.api import routes
from stoa.doctor.service import FINDINGS_MAX, SECONDS_MAX, Doctor
from stoa.doctor.types import DataLocation, Day, Diagnosis, Repaired, Report

__all__ = ["FINDINGS_MAX", "SECONDS_MAX", "DataLocation", "Day", "Diagnosis", "Doctor", "Repaired", "Report", "routes"]
