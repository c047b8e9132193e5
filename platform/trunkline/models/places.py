"""Files and folders that configuration names: paths, or places inside an installed package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from trunkline.errors import ConfigError

PACKAGE = "package:"


def located(source: str, key: str) -> Path:
    """The path that `source` names, a path or `package:<import name>/<inside>`. key: where the recipe says it, for the message.

    Raises ConfigError for a package that is not installed; whether the path exists is for the caller to see.
    """
    if not source.startswith(PACKAGE):
        return Path(source)
    package, _, inside = source.removeprefix(PACKAGE).partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{key}: package '{package}' is not installed. Install it, or name a path.")
    return Path(spec.submodule_search_locations[0]) / inside
