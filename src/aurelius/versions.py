"""The versions of everything a result depends on."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

PACKAGES = ("aurelius-lm", "torch", "tokenizers", "transformers", "numpy", "pyarrow", "safetensors")


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages; by default those that affect a result."""
    found = {"python": python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
