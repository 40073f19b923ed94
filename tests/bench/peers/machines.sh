# shellcheck shell=sh
# Machines on one machine, for scripts that source this: each is a set of namespaces (network, processes, mounts, host
# name) with a home of its own below $work, which the script creates first. All processes of a machine end with the
# script, however it ends.
#
# Needs root and iproute2; for Docker, Debian's docker.io and busybox.

: "${work:?a directory for what this run leaves}"
cgroup=uptimemesh-bench-$$

fail() {
    echo "$(basename "$0"): $*" >&2
    tail -n 5 "$work"/*.log >&2 2>/dev/null || true
    exit 1
}

[ "$(id -u)" = 0 ] || fail "run this as root"

# A machine lives while this script holds `alive` open: its first process reads until the end of that.
mkfifo "$work/alive"
machines=
clean_up() {
    exec 3>&-
    for pid in $machines; do
        wait "$pid" || true
    done
    find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
exec 3<>"$work/alive"

# machine NAME: starts it, with empty /run and /var/lib/docker.
machine() {
    mkdir -p "$work/$1/home" "$work/$1/docker"
    # The words are for the shell in the namespaces.
    # shellcheck disable=SC2016
    unshare --net --uts --ipc --pid --mount --fork --mount-proc sh -ec '
        hostname "$1"
        ip link set lo up
        mkdir -p /var/lib/docker
        mount -t tmpfs tmpfs /run
        mount --bind "$2/$1/docker" /var/lib/docker
        touch "$2/$1/ready"
        exec cat "$2/alive" 3>&-
    ' sh "$1" "$work" >"$work/$1.machine.log" 2>&1 3>&- &
    machines="$machines $!"
    echo $! >"$work/$1/pid"
    wait_until "$1 runs" test -e "$work/$1/ready"
}

# on MACHINE COMMAND [WORD]...: runs a command there, in its home.
on() {
    of=/proc/$(cat "$work/$1/pid")/ns
    home=$work/$1/home
    shift
    nsenter --net="$of/net" --uts="$of/uts" --ipc="$of/ipc" --mount="$of/mnt" --pid="$of/pid_for_children" \
        env -i --chdir="$home" HOME="$home" USER=root TERM=xterm PATH="$home/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        "$@" 3>&-
}

# in_background COMMAND [WORD]... &: the shell between this one and the command does not keep machines alive.
in_background() {
    exec 3>&-
    "$@"
}

now() { date +%s%3N; }

# wait_until WHAT COMMAND [WORD]...: runs a command until it succeeds.
wait_until() {
    what=$1
    limit=$(($(now) + 60000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(now)" -lt "$limit" ] || fail "not within 60 s: $what"
        sleep 0.02
    done
}

# A tar with busybox and its libraries.
image() {
    busybox=$(command -v busybox)
    mkdir -p "$work/image/bin"
    cp -L "$busybox" "$work/image/bin/busybox"
    for library in $(ldd "$busybox" | grep -o '/[^ ]*'); do
        mkdir -p "$work/image$(dirname "$library")"
        cp -L "$library" "$work/image$library"
    done
    tar -C "$work/image" -c .
}

# docker_daemon MACHINE: starts it in the background there, so that a script may halt the daemon: nsenter would halt with
# its child, and stay so.
docker_daemon() {
    # The words are for the shell in the namespaces.
    # shellcheck disable=SC2016
    on "$1" sh -c '
        dockerd --iptables=false --bridge=none --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent="/$1" &
    ' sh "$cgroup" >"$work/$1.dockerd.log" 2>&1 </dev/null
}

docker_answers() { on "$1" docker version; }
