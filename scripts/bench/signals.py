"""How long a signal takes from its sender through a supervisor to the application.

Usage: signals.py COUNT [SUPERVISOR...]; prints the milliseconds of each as a JSON list. Sender and application read the
same clock, and between two signals both rest, as a supervisor does between two deploys.
"""

import json
import os
import signal
import struct
import subprocess
import sys
import time

REST_SECONDS = 0.003


def receive() -> None:
    """The application: answers each SIGUSR1 with the time at which it came."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.write(1, struct.pack("q", 0))
    while True:
        signal.sigwait({signal.SIGUSR1})
        os.write(1, struct.pack("q", time.monotonic_ns()))


def send(count: int, supervisor: list) -> None:
    application = [sys.executable, __file__, "receive"]
    child = subprocess.Popen([*supervisor, *application], stdout=subprocess.PIPE, bufsize=0)
    child.stdout.read(8)
    took = []
    for _ in range(count):
        time.sleep(REST_SECONDS)
        sent = time.monotonic_ns()
        child.send_signal(signal.SIGUSR1)
        (received,) = struct.unpack("q", child.stdout.read(8))
        took.append((received - sent) / 1e6)
    child.terminate()
    child.wait()
    print(json.dumps(took))


if sys.argv[1] == "receive":
    receive()
else:
    send(int(sys.argv[1]), sys.argv[2:])
