"""What the peer tests measured, printed although they pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Lines that are printed after the last test of a module."""
    lines: list[str] = []
    yield lines
    manager = request.config.pluginmanager.get_plugin("capturemanager")
    with manager.global_and_fixture_disabled():
        print("", *lines, sep="\n")
