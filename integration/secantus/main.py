"""Runs the server until standard input ends."""

import os
import signal
import sys
import threading

from secantus.cli import main


def end() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=end, daemon=True).start()
sys.exit(main())
