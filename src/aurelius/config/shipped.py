"""The recipes that come with Aurelius, as data."""

from importlib.resources import files

NAMES = ("pico", "nano-4k", "nano", "v0.5", "small", "large-portable", "large")  # smallest model first


def text(name: str) -> str:
    """Return the TOML of a shipped recipe."""
    return (files("aurelius.config") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
