"""The daemon and its host."""

from yurt import __version__
from yurt.api.table import Call, Nothing, Permission, operation
from yurt.api.views import Version
from yurt.model.host import Check


@operation("GET", "/v1/version", "Tell the version", permission=Permission.VIEW, response=Version)
async def get_version(call: Call[Nothing, Nothing]) -> object:
    """Which yurt answers here."""
    return Version(version=__version__, api="v1")


@operation("GET", "/v1/host", "Describe the host", permission=Permission.VIEW, response=dict[str, object])
async def get_host(call: Call[Nothing, Nothing]) -> object:
    """What this host is, and how much of it is used."""
    return await call.engine.host_info()


@operation("GET", "/v1/doctor", "Check the host", permission=Permission.VIEW, response=list[Check])
async def get_doctor(call: Call[Nothing, Nothing]) -> object:
    """What works here, what is missing, and how to mend it."""
    return await call.engine.doctor()


@operation(
    "GET",
    "/v1/openapi.json",
    "This document",
    permission=Permission.VIEW,
    response=dict[str, object],
)
async def get_openapi(call: Call[Nothing, Nothing]) -> object:
    """The OpenAPI document of this very daemon."""
    from yurt.api.openapi import document  # built on demand: a daemon that nobody asks does not pay for it

    return document()


ENDPOINTS = (get_version, get_host, get_doctor, get_openapi)
