"""Fixtures: a gateway in front of the server, and settings that lead through it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from edw.config import Settings
from tests.conftest import Server
from tests.faults.gateway import Gateway


@pytest.fixture
def gateway(server: Server) -> Iterator[Gateway]:
    with Gateway(server.url) as gateway:
        yield gateway


@pytest.fixture
def through(settings: Settings, gateway: Gateway) -> Settings:
    return dataclasses.replace(settings, server=gateway.url)
