"""A plugin for Forge; what it offers stands in the entry points of its pyproject.toml."""

__version__ = "0.1.0"
