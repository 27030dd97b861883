"""The process that performs a run's steps: heavy libraries are imported here, once, and never in the parent.

Tasks come in and answers go out as lines of JSON on private pipes; what steps print goes into the run's log. When the
parent dies, its end of the pipe closes, and this process ends with all its children.
"""

from __future__ import annotations

import inspect
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from forge_core import faults
from forge_core.faults import ForgeError
from forge_core.operations import acting_as
from forge_core.pipeline import imported
from forge_core.processes import die_with_parent, end_group
from forge_core.records.data import JSON
from forge_core.records.runs import KernelSpec, Task
from forge_core.references import interpolate
from forge_core.serialize import from_json, to_json

if TYPE_CHECKING:
    from forge_core.kernel import Kernel


class StepEnded(ForgeError):
    """The process that performed a step ended without an answer: it was killed, it crashed, or it exited."""

    kind = "process_ended"


class StepTimeout(ForgeError):
    kind = "timeout"


class Worker:
    """The parent's side: one process that performs tasks one after the other."""

    def __init__(self, spec: KernelSpec) -> None:
        down, self._tasks = os.pipe()
        answers, up = os.pipe()
        self._child = subprocess.Popen(
            [sys.executable, "-u", "-P", "-m", "forge_core.worker", str(down), str(up)],  # -P: no stray timeit.py shadows the library
            pass_fds=(down, up),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},  # threads that wait do not burn the cores of those that work
        )
        os.close(down)
        os.close(up)
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(os.fdopen(answers, "rb"),), daemon=True)
        self._reader.start()
        self._send(to_json(spec))

    def _read(self, answers: IO[bytes]) -> None:
        with answers:
            for line in answers:
                self._lines.put(line)
        self._lines.put(b"")

    def _send(self, message: JSON) -> None:
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:  # a pipe takes 64 KiB at a time
                data = data[os.write(self._tasks, data) :]
        except BrokenPipeError:
            return  # the answer will tell

    def perform(
        self, task: Task, log: Path, timeout: float | None, progress: Callable[[float, str], None], cancelled: Callable[[], bool]
    ) -> Mapping[str, JSON]:
        """Do a task; raises what it raised, or how its process ended. `cancelled` is asked every half second."""
        self._send({"task": to_json(task), "log": str(log)})
        ends: float | None = None
        while True:
            try:
                line = self._lines.get(timeout=0.5)
            except queue.Empty:
                if ends is not None and time.monotonic() > ends:
                    self.close()
                    raise StepTimeout(f"step {task.step.name!r} ran past {timeout:g} s", "raise its timeout, or pipeline.timeout") from None
                if cancelled():
                    self.close()
                    raise faults.Cancelled(f"run {task.run_id} was cancelled", f"forge runs resume {task.run_id}") from None
                continue
            if not line:
                raise StepEnded(f"step {task.step.name!r}: its process {_how(self._child.wait())}", f"forge runs logs {task.run_id}")
            said = json.loads(line)
            if "outputs" in said:
                outputs: Mapping[str, JSON] = said["outputs"]
                return outputs
            if "error" in said:
                raise _error(said["error"])
            if "started" in said:  # the time it took to import libraries is not the step's
                ends = time.monotonic() + timeout if timeout is not None else None
                continue
            progress(said["progress"], said["message"])

    def close(self) -> None:
        if self._tasks >= 0:
            os.close(self._tasks)
            self._tasks = -1
        end_group(self._child)


def _how(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"exited with {code}"


def _error(said: Mapping[str, str]) -> ForgeError:
    kind = getattr(faults, said["class"], ForgeError)
    error = (kind if isinstance(kind, type) and issubclass(kind, ForgeError) else ForgeError)(said["cause"], said["remedy"])
    error.kind = said["kind"]
    if said["traceback"]:
        error.add_note(said["traceback"])
    return error


def perform(kernel: Kernel, task: Task) -> Mapping[str, JSON]:
    """Do a step here. Its function gets what it names: `task`, `kernel`, a parameter, or the outputs of a step it needs.

    It returns a mapping made of JSON, or None; files go into `task.folder`. Anything else it raises becomes
    a `ForgeError` that names the step.
    """
    function = imported(task.step.target)
    offered = {**task.inputs, **interpolate(dict(task.step.parameters)), "task": task, "kernel": kernel}
    wanted = inspect.signature(function).parameters
    given = {name: offered[name] for name in wanted if name in offered}
    if "task" in given:
        task.folder.mkdir(parents=True, exist_ok=True)
    try:
        with acting_as(task.session):
            outputs = function(**given)
        return _kept(outputs, task)
    except (ForgeError, KeyboardInterrupt):
        raise
    except Exception as error:
        failure = ForgeError(f"step {task.step.name!r}: {type(error).__name__}: {_briefly(error)}", f"forge runs logs {task.run_id}")
        failure.kind = type(error).__name__
        raise failure from error


def _briefly(error: Exception) -> str:
    """The first line of what it says; of a file only its name."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {Path(os.fsdecode(error.filename)).name}"
    return next((line for line in str(error).splitlines() if line.strip()), "")


def _kept(outputs: object, task: Task) -> Mapping[str, JSON]:
    if outputs is None:
        return {}
    try:
        kept = json.loads(json.dumps(outputs, allow_nan=True))
    except (TypeError, ValueError) as error:
        raise ForgeError(
            f"step {task.step.name!r} returned what is not JSON: {error}", "return a mapping of JSON, and write files into task.folder"
        ) from error
    if not isinstance(kept, dict):
        raise ForgeError(f"step {task.step.name!r} returned {type(outputs).__name__}", "return a mapping of JSON, or nothing")
    return kept


def main() -> None:
    """`python -P -m forge_core.worker TASKS ANSWERS`: two file descriptors."""
    from forge_core.kernel import Kernel  # after die_with_parent, so that an orphan never gets as far as a plugin

    down, up = os.fdopen(int(sys.argv[1]), "rb"), os.fdopen(int(sys.argv[2]), "wb", buffering=0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    lines: queue.Queue[bytes] = queue.Queue()

    def listen() -> None:
        for line in down:
            lines.put(line)
        os.killpg(0, signal.SIGKILL)  # the parent is gone: so is every child

    threading.Thread(target=listen, daemon=True).start()
    die_with_parent(False)  # from here on the listener ends the whole group; the signal would reach this process alone
    lock = threading.Lock()

    def answer(message: JSON) -> None:
        with lock:
            up.write(json.dumps(message).encode() + b"\n")

    os.dup2(2, 1)  # chatty libraries talk to the log
    try:
        kernel = Kernel.from_spec(from_json(json.loads(lines.get()), KernelSpec))
    except ForgeError as error:
        lines.get()
        answer({"error": _described(error)})
        return
    with kernel:
        kernel.on_progress = lambda fraction, message: answer({"progress": fraction, "message": message})
        while True:
            said = json.loads(lines.get())
            _log_into(Path(said["log"]))
            answer({"started": True})
            answer(_answered(kernel, from_json(said["task"], Task)))


def _answered(kernel: Kernel, task: Task) -> JSON:
    try:
        return {"outputs": perform(kernel, task)}
    except ForgeError as error:
        sys.stderr.write("".join(traceback.format_exception(error.__cause__)) if error.__cause__ else f"{error.cause}\n{error.remedy}\n")
        return {"error": _described(error)}


def _described(error: ForgeError) -> JSON:
    shown = "".join(traceback.format_exception(error.__cause__)) if error.__cause__ is not None else ""
    return {"class": type(error).__name__, "kind": error.kind, "cause": error.cause, "remedy": error.remedy, "traceback": shown}


def _log_into(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


if __name__ == "__main__":
    die_with_parent()
    main()
