"""The doctor: counts broken promises, and puts right what it safely can. Knows no other slice; each gives it checks.
Front door."""

from stoa.doctor.api import routes
from stoa.doctor.service import FINDINGS_MAX, SECONDS_MAX, Doctor
from stoa.doctor.types import DataLocation, Day, Diagnosis, Repaired, Report

__all__ = ["FINDINGS_MAX", "SECONDS_MAX", "DataLocation", "Day", "Diagnosis", "Doctor", "Repaired", "Report", "routes"]
