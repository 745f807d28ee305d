"""Prints what zerostall needs to run, a requirement a line, for pip to install without building it.

Runs in the environment of `make lint`, where Python 3.10 has tomli, which mypy needs too.
"""

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
print(*project["project"]["dependencies"], sep="\n")
