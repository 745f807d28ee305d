"""The study of bench/experiments/speculator.py on a small scale: reading ahead pays."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "experiments" / "speculator.py"
TOKENS = 160
# A read takes somewhat longer than computing a layer, as those of large models do.
LATENCY_US, BYTES_PER_SECOND, LAYER_US = 300, 3e8, 400


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("speculator_study", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def prepared(study: ModuleType, tmp_path_factory: pytest.TempPathFactory):
    return study.prepare(tmp_path_factory.mktemp("speculator"), TOKENS)


def run(study: ModuleType, prepared, ahead: bool, threads: int = 1):
    return study.run(prepared, LAYER_US, LATENCY_US, BYTES_PER_SECOND, ahead, threads)


@pytest.fixture(scope="module")
def runs(study: ModuleType, prepared):
    return [run(study, prepared, ahead) for ahead in (False, True)]


def test_reading_ahead_takes_at_least_15_percent_off_the_time_stalled(runs):
    off, on = runs
    assert off.stats["demanded"] == on.stats["demanded"]
    assert off.stats["shadow_hits"] == off.stats["speculated"] == 0
    assert off.stall_s > 0
    assert 1 - on.stall_s / off.stall_s >= 0.15


def test_a_simulated_run_repeats_whatever_the_threads_and_the_real_time(study, prepared, runs):
    for ahead, first in zip((False, True), runs, strict=True):
        assert run(study, prepared, ahead, threads=2).stats == first.stats


def test_predictions_name_most_of_what_is_demanded(runs):
    _, on = runs
    # Measured: 0.78. The same in every run: it hangs on routers and text alone.
    assert on.part("foreseen", "demanded") > 0.6
    assert on.part("foreseen", "predicted") > 0.6


def test_a_shadow_hit_is_a_miss_less(runs):
    off, on = runs
    assert on.stats["shadow_hits"] > off.stats["misses"] / 4
    assert on.stats["misses"] < 0.8 * off.stats["misses"]


def test_most_of_what_is_read_ahead_is_used(runs):
    _, on = runs
    assert on.stats["wasted"] < on.stats["speculated"] / 2


def test_a_slow_answering_drive_is_kept_busy(study: ModuleType, prepared):
    """With little under way such a drive is slow, which must not be why little is."""
    off, on = (
        study.run(prepared, LAYER_US, latency_us=3000, rate=1e9, speculate=ahead).stall_s
        for ahead in (False, True)
    )
    # Measured: 0.81; 0.84 if what may be under way does not follow what a request takes, 1.00 if it
    # does not follow the best of the drive's speeds but their average.
    assert on < 0.83 * off


@pytest.fixture(scope="module")
def replayed(study: ModuleType, prepared, tmp_path_factory: pytest.TempPathFactory):
    found = study.policies(prepared, tmp_path_factory.mktemp("policies"))
    return {each.policy: each.decode for each in found}


def test_the_policies_have_the_room_that_the_engine_has(replayed, runs):
    off, _ = runs
    assert replayed["lrfu"].demands == off.stats["demanded"]
    assert replayed["lrfu"].hits == off.stats["hits"]


def test_hits_lie_between_lru_and_belady(replayed):
    found = {policy: decode.hit_rate for policy, decode in replayed.items()}
    # The same in every run: 0.243, 0.251 and 0.522; over 2,000 tokens 0.298, 0.344 and 0.568.
    assert found["lru"] < found["lrfu"] < found["belady"]
    assert found["lrfu"] > 0.2
