"""`python -m forge_core.testing.child TASK`: one process for each of a task's arguments, forked before anything is opened."""

from __future__ import annotations

import inspect
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from forge_core.pipeline import imported
from forge_core.testing.contract import Subject


def main() -> int:
    task = json.loads(sys.argv[1])
    subject = Subject(Path(task["root"]), task["target"], task["settings"])
    act, _driver = imported(task["act"]), imported(task["target"])  # once, for all
    down, up = os.pipe()
    children = [_fork(number, (down, up), subject, act, arguments) for number, arguments in enumerate(task["arguments"])]
    os.close(down)
    os.close(up)  # all were made: now they go
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


def _fork(number: int, gate: tuple[int, int], subject: Subject, act: Any, arguments: Any) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.close(gate[1])
        with subject.opened() as driver:
            os.read(gate[0], 1)  # until the parent has made all of them
            made = act(driver, *arguments)
            for value in made if inspect.isgenerator(made) else (made,):
                os.write(1, json.dumps([number, value]).encode() + b"\n")
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
