"""The listener: every run that ends is written into a diary.

This module is imported whenever a project is opened, so it imports the standard library and `forge_core` only.
"""

from __future__ import annotations

from forge_core import hookimpl
from forge_core.records import Project, RunRecord
from forge_stranger import diary

_projects: list[Project] = []  # those that are open; a run is written down for the one opened last


@hookimpl
def forge_kernel_opened(project: Project) -> None:
    _projects.append(project)


@hookimpl
def forge_kernel_closed(project: Project) -> None:
    _projects.remove(project)


@hookimpl
def forge_run_finished(run: RunRecord) -> None:
    diary.write(diary.path(_projects[-1]), run)
