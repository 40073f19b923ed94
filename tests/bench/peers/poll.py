#!/usr/bin/python3
"""Polls a JSON list over HTTP until enough of its items have a value, and prints the time: ms since 1970.

usage: poll.py PORT-OR-SOCKET PATH COUNT KEY[.KEY]... REGEX [HEADER]

A key that is absent is the empty text.
"""

import http.client
import json
import re
import socket
import sys
import time

# Seconds until it gives up, and between looks.
PATIENCE = 60
PAUSE = 0.005


class Local(http.client.HTTPConnection):
    """A connection to a socket file."""

    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def value(item, keys):
    for key in keys.split("."):
        item = item.get(key) or "" if isinstance(item, dict) else ""
    return str(item)


def main():
    where, path, count, keys, regex, *header = sys.argv[1:]
    headers = dict(h.split(": ", 1) for h in header)
    connection = Local(where) if "/" in where else http.client.HTTPConnection("127.0.0.1", int(where))
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        items = json.loads(answer.read() or b"null")
        if answer.status != 200:
            sys.exit(f"poll.py: {path}: {answer.status} {items}")
        found = sum(re.fullmatch(regex, value(item, keys)) is not None for item in items or [])
        if found >= int(count):
            print(int(time.time() * 1000))
            return
        time.sleep(PAUSE)
    sys.exit(f"poll.py: {path}: {found} of {count} after {PATIENCE} s")


main()
