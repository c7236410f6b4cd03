"""Builds the doctor from the checks of all slices."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.db import Tx
from stoa.db.checks import Check
from stoa.doctor.api import routes
from stoa.doctor.service import Doctor
from stoa.doctor.types import DataLocation
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.kernel.findings import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorComponent(Component):
    doctor: Doctor


@asynccontextmanager
async def open_component(
    kit: Kit, checks: Sequence[Check], timeline: Callable[[Tx], Awaitable[Timeline]], data: DataLocation
) -> AsyncGenerator[DoctorComponent]:
    """`timeline` says how far back the rows go; `data` where they are."""
    doctor = Doctor(kit.database, checks, timeline, kit.clock, data)
    yield DoctorComponent(doctor=doctor, routers={HostKind.API: [routes(doctor, kit.gate)]})
