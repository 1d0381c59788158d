"""A hash of this package's code.

Numba keeps what it compiled on disk, but renews it only when the file of the function itself changes, not
those of the functions it calls. What is kept therefore has this hash as a closure variable, which is part of
Numba's key.
"""

from pathlib import Path

from aurelius.files import sha256

SOURCES = " ".join(sha256(path) for path in sorted(Path(__file__).parent.glob("*.py")))
