#!/usr/bin/python3
"""Sends requests over kept connections, on each connection one at a time.

usage: load.py PORT CLIENTS REQUESTS METHOD PATH BODY [HEADER]...

%d in the body is the number of the request, with eight digits. Prints requests a second.
"""

import socket
import sys
import threading
import time


def read(reader):
    status = int(reader.readline().split()[1])
    length, chunked = 0, False
    while (line := reader.readline().strip().lower()) != b"":
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
        chunked |= (name, value.strip()) == (b"transfer-encoding", b"chunked")
    body = reader.read(length)
    while chunked and (size := int(reader.readline(), 16)) >= 0:
        body += reader.read(size)
        reader.readline()
        if size == 0:
            break
    if not 200 <= status < 300:
        sys.exit(f"load.py: {status} {body.decode(errors='replace')}")


def client(port, requests, start):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reader = connection.makefile("rb")
    start.wait()
    for request in requests:
        connection.sendall(request)
        read(reader)
        done.append(1)


def request(method, path, body, headers):
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *headers]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", body]).encode()


done = []


def main():
    port, clients, count = map(int, sys.argv[1:4])
    method, path, body, *headers = sys.argv[4:]
    all_of_them = [request(method, path, body.replace("%d", f"{n:08}"), headers) for n in range(count)]
    start = threading.Barrier(clients + 1)
    parts = [all_of_them[n::clients] for n in range(clients)]
    threads = [threading.Thread(target=client, args=(port, part, start)) for part in parts]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.monotonic()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    if len(done) != count:
        sys.exit(f"load.py: {len(done)} of {count} requests were answered")
    print(f"{count / took:.0f}")


main()
