"""The templates of pages: no scripts, no network, the style inside."""

import jinja2


def render(template: str, **values: object) -> str:
    """Fill in a template of this package; what is not marked safe is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("aurelius", "reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = lambda value: f"{value:+.4f}".replace("-", "−")
    environment.filters["percent"] = lambda value: f"{value:.1%}" if 0 < value < 0.1 else f"{value:.0%}"
    environment.filters["number"] = lambda value: f"{value:,}"
    return environment.get_template(template).render(**values)
