"""Converting models to the layout that the kernels read, so that a load only reads.

The result is a GGUF file whose weights lie packed into panels, each expert in one aligned record
(docs/guides/formats.md has the layout).
"""

from zerostall.convert.conversion import convert
from zerostall.convert.verification import low_format, verify

__all__ = ["convert", "low_format", "verify"]
