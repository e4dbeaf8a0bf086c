"""Runs a program in a terminal, and prints what its screen showed as JSON.

Usage: terminal.py COLUMNS ROWS INTERRUPT COMMAND...

INTERRUPT is a text at which Ctrl-C is typed, once it stands on the screen; "" types nothing. Each screen that differs
from the one before is kept, as its lines without blanks at their ends, if it stood for longer than a part of a write
may: 5 ms, of which no eye sees anything.
"""

import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios

import pyte


def main() -> None:
    columns, rows, interrupt, command = (
        int(sys.argv[1]),
        int(sys.argv[2]),
        sys.argv[3],
        sys.argv[4:],
    )
    child, terminal = pty.fork()
    if child == 0:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(0, termios.TIOCSWINSZ, size)
        os.execv(command[0], command)
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    raw, screens = b"", []

    def keep() -> list[str]:
        shown = [line.rstrip() for line in screen.display]
        while shown and not shown[-1]:
            shown.pop()
        if not screens or screens[-1] != shown:
            screens.append(shown)
        return shown

    while data := read(terminal):
        raw += data
        stream.feed(data)
        if select.select([terminal], [], [], 0.005)[0]:
            continue
        shown = keep()
        if interrupt and any(interrupt in line for line in shown):
            os.write(terminal, b"\x03")
            interrupt = ""
    keep()
    _, status = os.waitpid(child, 0)
    result = {
        "code": os.waitstatus_to_exitcode(status),
        "screens": screens,
        "cursor_hidden": screen.cursor.hidden,
        "cursor_column": screen.cursor.x,
        "raw": raw.decode(errors="replace"),
    }
    json.dump(result, sys.stdout)


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        # Linux says so when the other end is closed.
        return b""


main()
