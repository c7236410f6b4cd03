"""The doctor, built over the checks of all other slices."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.db.checks import Check
from stoa.doctor.api import routes
from stoa.doctor.service import Doctor
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorComponent(Component):
    doctor: Doctor


@asynccontextmanager
async def open_component(kit: Kit, checks: Sequence[Check]) -> AsyncGenerator[DoctorComponent]:
    doctor = Doctor(kit.database, checks, kit.clock)
    yield DoctorComponent(doctor=doctor, routers={HostKind.API: [routes(doctor, kit.gate)]})
