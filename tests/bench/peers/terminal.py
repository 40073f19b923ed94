#!/usr/bin/python3
"""Runs a command on a terminal of its own and answers its questions.

usage: terminal.py [QUESTION ANSWER]... -- COMMAND [WORD]...

Prints all that appears there, and ends with the command's exit status.
"""

import os
import pty
import select
import sys
import time

# Seconds within which the next question must appear.
PATIENCE = 60


def main():
    end = sys.argv.index("--")
    words, command = sys.argv[1:end], sys.argv[end + 1 :]
    questions = list(zip(words[::2], words[1::2]))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    unread, limit = "", time.monotonic() + PATIENCE
    while True:
        left = max(0, limit - time.monotonic()) if questions else None
        if not select.select([terminal], [], [], left)[0]:
            sys.exit(f"terminal.py: {questions[0][0]!r} does not appear")
        try:
            shown = os.read(terminal, 65536)
        except OSError:
            # The command has closed its terminal.
            break
        if not shown:
            break
        os.write(1, shown)
        unread += shown.decode(errors="replace")
        if questions and questions[0][0] in unread:
            question, answer = questions.pop(0)
            unread = unread.split(question, 1)[1]
            os.write(terminal, answer.encode() + b"\n")
            limit = time.monotonic() + PATIENCE
    _, status = os.waitpid(pid, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


main()
