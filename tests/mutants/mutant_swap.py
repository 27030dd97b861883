"""A part of our own code exchanged for a wrong one. It holds for the whole process, which runs one mutant and nothing else."""

from __future__ import annotations


def swap(owner: object, name: str, wrong: object) -> None:
    """`owner` is a module or a class that has `name`; doing so again changes nothing."""
    assert hasattr(owner, name)
    setattr(owner, name, wrong)
