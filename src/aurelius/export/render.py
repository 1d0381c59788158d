"""The Markdown templates of the model card, rendered by Jinja."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import jinja2


def render(name: str, values: Mapping[str, Any]) -> str:
    """Fill a template of this package; a name without a value is an error."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )  # no HTML escaping: the result is Markdown
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    source = files("aurelius.export").joinpath("templates", name).read_text(encoding="utf-8")
    return environment.from_string(source).render(**values)
