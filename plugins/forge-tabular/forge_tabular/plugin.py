"""forge-tabular hears no hook: its drivers are chosen by name, through the entry points of `pyproject.toml`."""
