#!/bin/sh
# The path of a new user on two machines, beside Docker Swarm in the same run: how long each step takes, and how many
# commands, flags and answers a person types.
#
#   cargo build --release && sh tests/bench/peers/path.sh [PROGRAM]
#
# Runs as root. Needs iproute2, python3, and for Swarm's half Debian's docker.io and busybox; without dockerd it
# measures UptimeMesh alone. A machine is a set of namespaces (network, processes, mounts, host name) with a home of its
# own; a veth pair connects the two. All processes end with this script, however it ends.
#
# Not counted, on either side: installing the program, starting Docker's daemon (a package does), building an image.
set -eu

program=$(realpath "${1:-target/release/uptimemesh}")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
cgroup=uptimemesh-path-$$

fail() {
    echo "path.sh: $*" >&2
    tail -n 5 "$work"/*.log >&2 2>/dev/null || true
    exit 1
}

[ "$(id -u)" = 0 ] || fail "run this as root"
[ -x "$program" ] || fail "$program is missing: cargo build --release"

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

# A step begins, what a person types is counted, and the step ends as a line in `rows`.
begin() {
    side=$1 step=$2 commands=0 flags=0 answers=0
    began=$(now)
}

typed() {
    commands=$((commands + 1))
    for word in "$@"; do
        case $word in -*) flags=$((flags + 1)) ;; esac
    done
}

end() {
    echo "$step|$side|$(($(now) - began))|$commands|$flags|$answers" >>"$work/rows"
}

# types MACHINE COMMAND [WORD]...: a person types this there; what it prints is in `said`.
types() {
    machine=$1
    shift
    typed "$@"
    on "$machine" "$@" >"$work/said" 2>"$work/$machine.log" </dev/null || fail "$*: exit status $?"
}

# The word of ours after this one, on the screen of `up`.
shown_after() { tr -d '\r' <"$work/up.log" | sed -n "s/.*$1 *\([^ ]*\).*/\1/p" | head -n 1; }

is_alive() { on node-a uptimemesh node leases | grep -q "^$1	.*	alive	"; }

ours() {
    begin ours "control plane runs"
    typed uptimemesh up
    in_background on node-a "$here/terminal.py" -- uptimemesh up >"$work/up.log" 2>&1 </dev/null &
    wait_until "up prints a line to paste" grep -q "Another one:" "$work/up.log"
    end
    wait_until "up prints a line to sign in with" grep -q "uptimemesh login https" "$work/up.log"
    url=$(shown_after "uptimemesh login") code=$(shown_after "this setup code:") join=$(shown_after "uptimemesh join")

    begin ours "second machine joins"
    typed uptimemesh join STRING --run
    in_background on node-b "$here/terminal.py" -- uptimemesh join "$join" --run >"$work/join.log" 2>&1 </dev/null &
    wait_until "node-b is alive" is_alive node-b
    end

    begin ours "sign in from it"
    typed uptimemesh login URL
    answers=5
    on node-b "$here/terminal.py" "User name" "" "Password:" uptime "Setup code:" "$code" \
        "New password:" "correct horse" "again:" "correct horse" -- uptimemesh login "$url" \
        >"$work/login.log" 2>&1 </dev/null || fail "login failed"
    end

    echo '{"id": "web", "name": "web", "spec": {"image": "web", "scheduling": {"desired_replicas": 2}}}' \
        >"$work/node-b/home/web.json"
    begin ours "service, two replicas"
    types node-b uptimemesh service apply -f web.json --wait
    end
    begin ours "look at all of it"
    types node-b uptimemesh status
    grep -q "2 alive" "$work/said" || fail "status does not show two nodes: $(cat "$work/said")"
    end
    begin ours "drain the second machine"
    types node-b uptimemesh node drain node-b
    end
    on node-b uptimemesh replica list >"$work/said"
    [ "$(grep -c "	node-a	" "$work/said")" = 2 ] || fail "not both replicas are on node-a: $(cat "$work/said")"
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

docker_daemon() {
    in_background on "$1" dockerd --iptables=false --bridge=none --exec-opt native.cgroupdriver=cgroupfs \
        --cgroup-parent="/$cgroup" >"$work/$1.dockerd.log" 2>&1 </dev/null &
}

docker_answers() { on "$1" docker version; }

is_ready() { on node-a docker node ls --format '{{.Hostname}} {{.Status}}' | grep -q "^$1 Ready"; }

both_run_on_a() {
    [ "$(on node-a docker service ps web --filter desired-state=running --format '{{.Node}} {{.CurrentState}}' |
        grep -c '^node-a Running')" = 2 ]
}

# Stops at once when it should.
web='["/bin/busybox", "sh", "-c", "trap exit TERM; /bin/busybox sleep 100000 & wait"]'

swarm() {
    image >"$work/image.tar"
    for name in node-a node-b; do
        docker_daemon "$name"
    done
    for name in node-a node-b; do
        wait_until "dockerd answers on $name" docker_answers "$name"
        on "$name" docker import --change "CMD $web" - web:1 <"$work/image.tar" >/dev/null
    done

    begin swarm "control plane runs"
    types node-a docker swarm init --advertise-addr 10.77.0.1
    end
    token=$(sed -n 's/.*--token \([^ ]*\).*/\1/p' "$work/said")

    begin swarm "second machine joins"
    types node-b docker swarm join --token "$token" 10.77.0.1:2377
    wait_until "node-b is ready" is_ready node-b
    end
    begin swarm "service, two replicas"
    types node-a docker service create --name web --replicas 2 web:1
    end
    begin swarm "look at all of it"
    types node-a docker node ls
    types node-a docker service ps web
    end
    begin swarm "drain the second machine"
    types node-a docker node update --availability drain node-b
    wait_until "both replicas run on node-a" both_run_on_a
    end
    on node-a docker service rm web >/dev/null
}

mkdir -p "$work/node-a/home/bin" "$work/node-b/home/bin"
ln -s "$program" "$work/node-a/home/bin/uptimemesh"
ln -s "$program" "$work/node-b/home/bin/uptimemesh"
machine node-a
machine node-b
ip link add eth0 netns "$(cat "$work/node-a/pid")" type veth peer name eth0 netns "$(cat "$work/node-b/pid")"
on node-a ip address add 10.77.0.1/24 dev eth0
on node-b ip address add 10.77.0.2/24 dev eth0
on node-a ip link set eth0 up
on node-b ip link set eth0 up

"$program" version
ours
if command -v dockerd >/dev/null; then
    on node-a dockerd --version
    swarm
else
    echo "dockerd is missing (apt-get install docker.io): Swarm is not measured"
fi

awk -F'|' '
    function cells(ms, commands, flags, answers) { return sprintf("   %8s %8s %6s %8s", ms, commands, flags, answers) }
    function line(step, side) { return ((step, side) in row) ? row[step, side] : cells("-", "-", "-", "-") }
    function total(side) { return cells(sum[side, 3], sum[side, 4], sum[side, 5], sum[side, 6]) }
    {
        if (!($1 in seen)) { seen[$1] = 1; steps[++count] = $1 }
        row[$1, $2] = cells($3, $4, $5, $6)
        for (i = 3; i <= 6; i++) sum[$2, i] += $i
    }
    END {
        heads = cells("ms", "commands", "flags", "answers")
        printf "\n%-26s   %-36s%s\n%-26s%s%s\n", "", "UptimeMesh", "Docker Swarm", "step", heads, heads
        for (i = 1; i <= count; i++) printf "%-26s%s%s\n", steps[i], line(steps[i], "ours"), line(steps[i], "swarm")
        printf "%-26s%s%s\n", "sum", total("ours"), total("swarm")
    }' "$work/rows"
cat <<'WORDS'

UptimeMesh also needs the file web.json of one line. Swarm starts containers, and waits five seconds to see that they
stay; UptimeMesh records where they run, for agents to act on. Swarm is only used on its manager: it has no sign-in.
WORDS
