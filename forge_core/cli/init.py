"""`forge init`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from forge_core.cli.console import Usage, say
from forge_core.faults import Conflict

TEMPLATES = Path(__file__).parents[1] / "templates" / "init"


def init(
    name: str,
    /,
    *,
    template: Annotated[Literal["basic"], Parameter(help="What to begin with.")] = "basic",
    path: Annotated[Path | None, Parameter(help="The folder to make; ./NAME where it is not given.")] = None,
) -> int:
    """Make a project from a template."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", name):
        raise Usage(f"{name!r} is no project's name", "a letter, then letters, digits, _ and -")
    folder = path or Path(name)
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} exists and is not empty", "give another --path")
    shutil.copytree(TEMPLATES / template, folder, dirs_exist_ok=True)
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix in (".yaml", ".md", ".py"):
            file.write_text(file.read_text(encoding="utf-8").replace("PROJECT_NAME", name), encoding="utf-8")
    say(
        {"project": name, "path": str(folder), "template": template},
        f"{folder}/forge.yaml is ready\n  cd {folder} && python make_data.py && forge train",
    )
    return 0
