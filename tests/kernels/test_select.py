"""Which instruction set runs."""

from __future__ import annotations

import pytest

from zerostall import _core
from zerostall.errors import InvalidRequestError

ISAS: list[str] = _core.isas()


def test_the_best_instruction_set_runs_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ZEROSTALL_ISA", raising=False)
    assert _core.selected_isa() == ISAS[-1]
    monkeypatch.setenv("ZEROSTALL_ISA", "")
    assert _core.selected_isa() == ISAS[-1]


@pytest.mark.parametrize("isa", ISAS)
def test_the_named_instruction_set_runs(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROSTALL_ISA", isa)
    assert _core.selected_isa() == isa


def test_models_run_by_name_but_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    models = _core.isa_models()
    assert "amx_model" in models
    assert not set(models) & set(ISAS)
    for name in models:
        monkeypatch.setenv("ZEROSTALL_ISA", name)
        assert _core.selected_isa() == name


def test_naming_an_unknown_instruction_set_is_an_error_that_lists_those_present(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZEROSTALL_ISA", "sse9")
    with pytest.raises(
        InvalidRequestError, match='ZEROSTALL_ISA: instruction set "sse9" is unknown'
    ) as e:
        _core.selected_isa()
    assert str(e.value).endswith("it has " + ", ".join(ISAS))


def test_naming_one_that_the_cpu_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for isa in {"avx2", "avx_vnni", "avx512", "amx"} - set(ISAS):
        monkeypatch.setenv("ZEROSTALL_ISA", isa)
        with pytest.raises(InvalidRequestError, match=f'"{isa}" is unknown or missing on this'):
            _core.selected_isa()
