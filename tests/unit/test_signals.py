"""Who waits without end is told of a signal nevertheless."""

from __future__ import annotations

import signal
import subprocess
import sys

# The kernel gives the signal to another thread, as if it had come one instruction before the main one waits.
SCRIPT = """
import signal, threading
from service import signals

told, asleep, ended = threading.Event(), threading.Event(), threading.Event()
signals.watch({signal.SIGTERM}, told.set)
signal.signal(signal.SIGTERM, lambda *_: ended.set())
threading.Thread(target=asleep.wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("waits", flush=True)
ended.wait()
print("ended", told.is_set())
"""


def test_the_main_thread_runs_its_handler_even_when_the_signal_did_not_wake_it():
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "waits\n"
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (output, process.returncode) == ("ended True\n", 0)
