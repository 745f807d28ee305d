"""--help: complete, quick, and the registry behind it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import zerostall.cli
from tests.cli.shell import run
from tests.tasks import HANG_S
from zerostall import __version__
from zerostall.cli.registry import VERBS

HEAVY = {"numpy", "tokenizers", "huggingface_hub", "jinja2", "zerostall._core", "zerostall.llm"}
HEAVY |= {"fastapi", "uvicorn", "prometheus_client", "pydantic"}
SUPPORT = {"__init__", "app", "form", "options", "outcome", "progress", "registry"}


def test_help_lists_every_verb_and_the_exit_codes():
    done = run("--help", COLUMNS="100")
    assert done.returncode == 0
    listed = [line.strip("│ ").split(" ")[0] for line in done.stdout.splitlines() if "│ " in line]
    assert [word for word in listed if word in VERBS] == list(VERBS)
    text = " ".join(done.stdout.split())
    assert "Exit codes: 0 done, 1 error" in text
    assert "130 interrupted" in text
    assert len(done.stdout.splitlines()) < 50


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['zerostall', '--help']\n"
        "from zerostall.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('modules:', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANG_S
    )
    modules = set(done.stdout.rsplit("modules:", 1)[1].split())
    assert "typer" in modules
    assert modules & HEAVY == set()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_of_its_own(verb):
    done = run(verb, "-h")
    assert done.returncode == 0
    module = importlib.import_module(f"zerostall.cli.{verb.replace('-', '_')}")
    if hasattr(module, "main"):
        first = module.main.__doc__.splitlines()[0]
        assert first in " ".join(done.stdout.split())


def test_the_files_of_the_command_are_the_verbs_and_what_they_share():
    files = {path.stem for path in Path(zerostall.cli.__file__).parent.glob("*.py")}
    assert files == {verb.replace("-", "_") for verb in VERBS} | SUPPORT


def test_the_version_is_the_packages():
    assert run("--version").stdout == f"zerostall {__version__}\n"


@pytest.mark.parametrize(
    "args", [["frobnicate"], ["run", "--frob"], ["run", "-n", "many"], ["eval", "ppl"]]
)
def test_wrong_usage_is_exit_code_2_with_a_message_on_stderr(args):
    done = run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error" in done.stderr


def test_shells_complete_verbs():
    done = run(_ZEROSTALL_COMPLETE="complete_bash", COMP_WORDS="zerostall tok", COMP_CWORD="1")
    assert done.stdout.split() == ["tokenize"]
