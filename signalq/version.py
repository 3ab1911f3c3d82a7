"""The version, once, and how it is installed; pyproject.toml reads the version from here."""

__version__ = "0.1.0"


def how_to_install(extra: str) -> str:
    """The command that brings an extra. The name is on no index, so it takes the project's folder or a wheel."""
    wheel = f"signalq-{__version__}-py3-none-any.whl"
    return f"pip install '.[{extra}]' in the project's folder, or pip install './{wheel}[{extra}]'"
