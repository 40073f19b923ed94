#!/bin/sh
# Durable writes a second, with one client and with eight, and the bytes that each puts on the disk, beside etcd: on the
# same disk, in turns.
#
#   cargo build --release && sh tests/bench/peers/writes.sh [PROGRAM]
#
# Needs python3 and Debian's etcd-server. A write of ours is a change of a service with its event, and an event alone;
# one of etcd's is a put of a value of the same size, over its JSON gateway. Both answer only when it is on the disk.
# WRITES is the number of each kind (default 2000). Both processes end with this script.
set -eu

program=$(realpath "${1:-target/release/uptimemesh}")
here=$(dirname "$(realpath "$0")")
writes=${WRITES:-2000}
work=$(mktemp -d)
started=

fail() {
    echo "writes.sh: $*" >&2
    tail -n 5 "$work"/*.log >&2 2>/dev/null || true
    exit 1
}

clean_up() {
    for pid in $started; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

[ -x "$program" ] || fail "$program is missing: cargo build --release"
command -v etcd >/dev/null || fail "etcd is missing: apt-get install etcd-server"

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# wait_until WHAT COMMAND [WORD]...: runs a command until it succeeds.
wait_until() {
    what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || fail "not within some seconds: $what"
        sleep 0.1
    done
}

load() { python3 "$here/load.py" "$@"; }

written() { sed -n 's/^write_bytes: //p' "/proc/$1/io"; }

# measure SIDE PID PORT CLIENTS METHOD PATH BODY [HEADER]...: a line in `rows`.
measure() {
    side=$1 pid=$2 port=$3 clients=$4
    shift 4
    before=$(written "$pid")
    rate=$(load "$port" "$clients" "$writes" "$@") || fail "$side: the load failed"
    echo "$clients|$side|$rate|$((($(written "$pid") - before) / writes))" >>"$work/rows"
}

mkdir "$work/ours" "$work/etcd"
ours_port=$(free_port)
(cd "$work/ours" && exec "$program" serve --server-host 127.0.0.1 --server-port "$ours_port" --log-level ERROR \
    --http-requests-per-second-max 1000000) >"$work/ours.log" 2>&1 &
ours=$!
started="$started $ours"
etcd_port=$(free_port) peer_port=$(free_port)
etcd --data-dir "$work/etcd" --log-level error --listen-peer-urls "http://127.0.0.1:$peer_port" \
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    >"$work/etcd.log" 2>&1 &
etcd=$!
started="$started $etcd"

# 300 bytes, and a key of twelve: text that is also base64.
value=$(printf '%0300d' 0)
put='{"key": "AAAA%d", "value": "'$value$(printf '%0100d' 0)'"}'
spec='{"spec": {"scheduling": {"desired_replicas": 0}, "env": {"N": "%d", "TEXT": "'$value'"}}}'
event='{"category": "bench", "name": "n", "level": "info", "fields": {"n": "%d", "text": "'$value'"}}'

wait_until "our server answers" load "$ours_port" 1 1 GET /health ""
wait_until "etcd answers" load "$etcd_port" 1 1 POST /v3/kv/put "$put"
session=$(python3 "$here/sign_in.py" "$ours_port")
auth="Authorization: Bearer $session"
load "$ours_port" 1 1 POST /services '{"id": "web", "name": "web"}' "$auth" >/dev/null

"$program" version
etcd --version | head -n 1
echo "load of the machine: $(cut -d' ' -f1-3 /proc/loadavg)"
# In turns: what else happens on the disk meets both.
for _ in 1 2 3; do
    for clients in 1 8; do
        measure service "$ours" "$ours_port" "$clients" PATCH /services/web "$spec" "$auth"
        measure etcd "$etcd" "$etcd_port" "$clients" POST /v3/kv/put "$put"
        measure event "$ours" "$ours_port" "$clients" POST /events "$event" "$auth"
    done
done

awk -F'|' '
    { rate[$1, $2] += $3; bytes[$1, $2] += $4; runs[$1, $2]++ }
    function line(clients, side, name) {
        r = rate[clients, side] / runs[clients, side]
        etcd = rate[clients, "etcd"] / runs[clients, "etcd"]
        printf "%-8d %-26s %10d %12d %12.2f\n", clients, name, r, bytes[clients, side] / runs[clients, side], r / etcd
    }
    END {
        printf "\n%-8s %-26s %10s %12s %12s\n", "clients", "write", "writes/s", "bytes each", "rate/etcd"
        for (clients = 1; clients <= 8; clients += 7) {
            line(clients, "service", "UptimeMesh, a service")
            line(clients, "event", "UptimeMesh, an event")
            line(clients, "etcd", "etcd, a put")
        }
    }' "$work/rows"
