"""The versions of everything a result depends on."""

from importlib.metadata import PackageNotFoundError, version
from platform import python_version

PACKAGES = ("aurelius-lm", "torch", "tokenizers", "transformers", "numpy", "pyarrow", "safetensors")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect a result."""
    found = {"python": python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
