"""Who owns work, and whether it still lives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from forge_core.processes import end_group, known_dead, me

NAME = "from forge_core.processes import me; print(me(), flush=True); import time; time.sleep(600)"


def test_an_owner_is_alive_while_its_process_is_and_dead_the_moment_it_is_not():
    process = subprocess.Popen([sys.executable, "-c", NAME], stdout=subprocess.PIPE, text=True)
    owner = process.stdout.readline().strip()
    assert not known_dead(owner)
    process.kill()
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert known_dead(owner)  # not even reaped
    process.communicate()
    assert known_dead(owner)


def test_a_process_id_that_was_given_to_another_is_told_apart():
    machine, pid, _started, token = me().split(":")
    assert known_dead(f"{machine}:{pid}:1:{token}")


def test_two_owners_of_one_process_differ():
    assert me() != me()


def test_of_another_machine_nothing_is_known():
    _machine, *rest = me().split(":")
    assert not known_dead(":".join(["elsewhere", "999999", *rest[1:]]))
    assert not known_dead("nonsense")
    assert not known_dead("")


def test_a_group_is_ended_with_its_deaf_children(tmp_path):
    source = (
        "import subprocess, sys, time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)']);"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, start_new_session=True)
    child = max(int(process.stdout.readline()), int(process.stdout.readline()))
    before = time.monotonic()
    end_group(process, 0.2)
    assert time.monotonic() - before < 2
    assert process.returncode is not None
    until = time.monotonic() + 2
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until
        time.sleep(0.01)
    process.stdout.close()


def test_ending_what_has_ended_does_no_harm():
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    end_group(process)
    assert process.returncode == 0
    assert os.getpid() > 0
