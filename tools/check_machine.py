"""Says what this machine lacks to build zerostall: one line a fault, exit status 1.

Runs on any Python 3, before anything is installed, so it uses nothing but the standard
library and no syntax newer than 3.6.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig

MIN_PYTHON = (3, 10)
MIN_GCC = 12
MIN_CLANG = 14


def python_faults():
    """What is wrong with the interpreter that runs this script."""
    if sys.version_info < MIN_PYTHON:
        yield (
            "Python is %d.%d, zerostall needs 3.10 or newer; name one: make PYTHON=python3.12"
            % (sys.version_info[:2])
        )
        return
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        yield "Python.h is missing: take a Python with headers (python.org, uv, pyenv, conda, or \
your distribution's python3-dev) and name it: make PYTHON=/path/to/python3"
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        yield "Python has no ensurepip, so it cannot make a virtual environment: take another \
Python, or your distribution's python3-venv"


def compiler_faults():
    """What is wrong with the C++ compiler that CMake will find."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if compiler is None or shutil.which(compiler.split()[0]) is None:
        yield "no C++ compiler (%s): install g++ >= 12 or clang >= 14, or set CXX" % compiler
        return
    macros = subprocess.run(
        [*compiler.split(), "-x", "c++", "-dM", "-E", os.devnull],
        stdout=subprocess.PIPE,
        universal_newlines=True,
        check=False,
    ).stdout
    found = dict(re.findall(r"#define (__GNUC__|__clang_major__) (\d+)", macros))
    apple = "__apple_build_version__" in macros
    if "__clang_major__" in found:
        version, least, name = int(found["__clang_major__"]), MIN_CLANG, "clang"
    else:
        version, least, name = int(found.get("__GNUC__", 0)), MIN_GCC, "g++"
    if version < least and not apple:
        yield "%s is %s %d, zerostall needs g++ >= 12 or clang >= 14: set CXX" % (
            compiler,
            name,
            version,
        )


def main():
    """Prints every fault and returns the exit status."""
    faults = [*python_faults(), *compiler_faults()]
    for fault in faults:
        print("zerostall cannot be built here: " + fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
