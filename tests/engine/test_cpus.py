"""Default threads and pinning as the environment and the caller ask for them."""

from __future__ import annotations

import os

import pytest

from tests.cpu.recorded import machine
from zerostall import LLM
from zerostall.engine import cpus
from zerostall.errors import InvalidRequestError


@pytest.fixture
def alder_lake(tmp_path, monkeypatch):
    topology = machine(tmp_path, "i7_12700")
    monkeypatch.setattr(cpus, "read_topology", lambda: topology)
    monkeypatch.delenv("ZEROSTALL_PIN", raising=False)


def test_the_default_leaves_efficiency_cores_out_and_all_does_not(alder_lake):
    assert (cpus.default_threads(), cpus.all_threads()) == (8, 12)


@pytest.mark.parametrize(
    ("environment", "threads", "pin", "pinned"),
    [
        (None, None, None, True),
        (None, 4, None, False),
        ("", None, None, True),
        ("0", None, None, False),
        ("1", 4, None, True),
        ("0", None, True, True),
        ("1", None, False, False),
    ],
)
def test_the_argument_comes_before_the_environment(
    alder_lake, monkeypatch, environment, threads, pin, pinned
):
    if environment is not None:
        monkeypatch.setenv("ZEROSTALL_PIN", environment)
    assert cpus.place_threads(threads, pin).pinned is pinned


def test_an_environment_that_is_neither_0_nor_1_is_an_error(alder_lake, monkeypatch):
    monkeypatch.setenv("ZEROSTALL_PIN", "yes")
    with pytest.raises(InvalidRequestError, match="ZEROSTALL_PIN is 'yes'; set it to 0 or 1"):
        cpus.place_threads()


def test_a_loaded_model_has_its_threads_where_they_were_placed():
    with LLM("nano", pin=False) as llm:
        assert llm.loaded.scheduler.engine.cpus == []
    with LLM("nano", pin=True) as llm:
        placement = cpus.place_threads(pin=True)
        assert llm.loaded.scheduler.engine.cpus == placement.cpus
        assert llm.loaded.scheduler.engine.threads == placement.threads
    assert len(os.sched_getaffinity(0)) >= placement.threads


def test_pinning_more_threads_than_cores_is_an_error():
    with pytest.raises(InvalidRequestError, match="threads cannot be pinned"):
        LLM("nano", threads=1000, pin=True)
