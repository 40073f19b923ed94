#!/bin/sh
# How soon a control plane decides by itself, and notices that a node is gone, beside Docker Swarm and serf in one run.
#
#   cargo build --release && sh tests/bench/peers/decide.sh [PROGRAM]
#
# Runs as root. Needs iproute2 and python3; Debian's docker.io for Swarm and serf for serf: what is missing is left out.
# Three machines (see machines.sh) are connected by a bridge; the first is the control plane, with no replicas.
#
# Only decisions are timed. Swarm's workers are halted (SIGSTOP) while it decides, so that its containers do not compete
# with it for two cores; it still counts them as ready for some seconds. Our replicas are records in any case.
set -eu

program=$(realpath "${1:-target/release/uptimemesh}")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
# shellcheck source=/dev/null
. "$here/machines.sh"

[ -x "$program" ] || fail "$program is missing: cargo build --release"

# row SIDE WHAT MS: a line for the table.
row() { echo "$2|$1|$3" >>"$work/rows"; }

# On the control plane's machine.
on_a() { on node-a "$@"; }

# poll NAME WHERE PATH COUNT KEYS REGEX [HEADER]: begins to look; `when NAME` waits for the time.
poll() {
    name=$1
    shift
    in_background on_a "$here/poll.py" "$@" >"$work/$name.time" 2>"$work/$name.log" &
    # Python has started by then.
    sleep 0.3
}

# when NAME: the time of what a poll has seen, in `at`.
when() {
    wait_until "$1 is seen" test -s "$work/$1.time"
    at=$(cat "$work/$1.time")
}

# seen SIDE WHAT NAME: a line for the table, with the ms from `began` to what a poll has seen.
seen() {
    when "$3"
    row "$1" "$2" "$((at - began))"
}

# signal_in MACHINE SIGNAL PROGRAM: signals what runs there under this name.
signal_in() {
    pid=$(on "$1" pidof "$3") || fail "$3 does not run on $1"
    # Several processes are several words.
    # shellcheck disable=SC2086
    on "$1" kill "-$2" $pid
}

# A service's description for us: its id, replicas.
described() {
    printf '{"id": "%s", "name": "%s", "spec": {"scheduling": {"desired_replicas": %s},
        "rolling_update": {"max_unavailable": %s}}}' "$1" "$1" "$2" "$2" >"$work/node-a/home/$1.json"
}

ours() {
    in_background on_a uptimemesh serve --server-host "" --log-level ERROR >"$work/serve.log" 2>&1 </dev/null &
    wait_until "the server answers" on_a uptimemesh status
    for name in node-b node-c; do
        join=$(on_a uptimemesh token create --role worker --join-string)
        in_background on "$name" uptimemesh join "$join" --run >"$work/$name.log" 2>&1 </dev/null &
        wait_until "$name is alive" is_alive "$name"
    done
    auth="Authorization: Bearer $(on_a "$here/sign_in.py" 8000)"

    on_a uptimemesh node cordon node-c >"$work/said"
    described web 100
    sleep 2
    poll first 8000 "/replicas?service_id=web" 1 node_id "node-b" "$auth"
    poll all 8000 "/replicas?service_id=web" 100 node_id "node-b" "$auth"
    began=$(now)
    on_a uptimemesh service apply -f web.json >"$work/said"
    seen ours "service of 100: first task has a node" first
    seen ours "service of 100: all have" all
    on_a uptimemesh service delete web --force >"$work/said"

    described drained 50
    on_a uptimemesh service apply -f drained.json --wait >"$work/said"
    on_a uptimemesh node uncordon node-c >"$work/said"
    sleep 2
    poll moved 8000 "/replicas?service_id=drained" 50 node_id "node-c" "$auth"
    began=$(now)
    in_background on_a uptimemesh node drain node-b >"$work/said" 2>&1 &
    seen ours "drain of 50: all have another node" moved
    wait $!
    on_a uptimemesh node uncordon node-b >"$work/said"

    poll stale 8000 /cluster/leases 1 lease_state "stale|dead" "$auth"
    poll placed 8000 "/replicas?service_id=drained" 50 node_id "node-b" "$auth"
    began=$(now)
    signal_in node-c KILL uptimemesh
    seen ours "killed node: noticed" stale
    seen ours "killed node: its replicas have another" placed
}

is_alive() { on_a uptimemesh node leases | grep -q "^$1	.*	alive	"; }

docker_on_a() { on_a docker "$@" >"$work/said"; }

swarm_node() { on_a docker node inspect --format '{{.ID}}' "$1"; }

is_ready() { on_a docker node ls --format '{{.Hostname}} {{.Status}}' | grep -q "^$1 Ready"; }

halt() { for name in node-b node-c; do signal_in "$name" STOP dockerd; done; }

resume() { for name in node-b node-c; do signal_in "$name" CONT dockerd; done; }

# create NAME REPLICAS
create() { docker_on_a service create --detach --name "$1" --replicas "$2" --no-resolve-image web:1; }

swarm() {
    for name in node-a node-b node-c; do
        docker_daemon "$name"
    done
    for name in node-a node-b node-c; do
        wait_until "dockerd answers on $name" docker_answers "$name"
    done
    image >"$work/image.tar"
    for name in node-b node-c; do
        on "$name" docker import --change 'CMD ["/bin/busybox", "sleep", "1000"]' - web:1 <"$work/image.tar" >"$work/said"
    done
    docker_on_a swarm init --advertise-addr 10.77.0.1
    token=$(on_a docker swarm join-token --quiet worker)
    for name in node-b node-c; do
        on "$name" docker swarm join --token "$token" 10.77.0.1:2377 >"$work/said"
        wait_until "$name is ready" is_ready "$name"
    done
    b=$(swarm_node node-b) c=$(swarm_node node-c)
    docker_on_a node update --availability drain node-a
    docker_on_a node update --availability drain node-c
    # The first machine's, below its own /run.
    socket=/run/docker.sock

    halt
    poll first "$socket" /tasks 1 NodeID "$b"
    poll all "$socket" /tasks 100 NodeID "$b"
    began=$(now)
    create web 100
    seen swarm "service of 100: first task has a node" first
    seen swarm "service of 100: all have" all
    docker_on_a service rm web
    resume
    wait_until "node-b and node-c are ready" both_ready

    halt
    poll on_b "$socket" /tasks 50 NodeID "$b"
    create drained 50
    when on_b
    docker_on_a node update --availability active node-c
    poll moved "$socket" /tasks 50 NodeID "$c"
    began=$(now)
    docker_on_a node update --availability drain node-b
    seen swarm "drain of 50: all have another node" moved
    docker_on_a service rm drained
    docker_on_a node update --availability active node-b
    resume
    wait_until "node-b and node-c are ready" both_ready

    create few 2
    poll on_c "$socket" /tasks 1 NodeID "$c"
    when on_c
    poll down "$socket" /nodes 1 Status.State "down"
    poll placed "$socket" '/tasks?filters=%7B%22desired-state%22%3A%5B%22running%22%5D%7D' 2 NodeID "$b"
    began=$(now)
    signal_in node-c KILL dockerd
    seen swarm "killed node: noticed" down
    seen swarm "killed node: its replicas have another" placed
    docker_on_a service rm few
}

both_ready() { is_ready node-b && is_ready node-c; }

serf_members() { on_a serf members "-status=$2" | grep -q "^$1 "; }

serf_failure() {
    number=1
    for name in node-a node-b node-c; do
        in_background on "$name" serf agent "-node=$name" "-bind=10.77.0.$number:7950" -join=10.77.0.1:7950 \
            >"$work/$name.serf.log" 2>&1 </dev/null &
        number=$((number + 1))
        wait_until "$name is a member" serf_members "$name" alive
    done
    began=$(now)
    signal_in node-c KILL serf
    wait_until "serf notices" serf_members node-c failed
    row serf "killed node: noticed" "$(($(now) - began))"
}

number=1
for name in node-a node-b node-c; do
    machine "$name"
    mkdir -p "$work/$name/home/bin"
    ln -s "$program" "$work/$name/home/bin/uptimemesh"
    if [ "$name" = node-a ]; then
        on_a ip link add eth0 type bridge
    else
        ip link add eth0 netns "$(cat "$work/$name/pid")" type veth peer name "$name" netns "$(cat "$work/node-a/pid")"
        on_a ip link set "$name" master eth0 up
    fi
    on "$name" ip address add "10.77.0.$number/24" dev eth0
    on "$name" ip link set eth0 up
    number=$((number + 1))
done

"$program" version
echo "load of the machine: $(cut -d' ' -f1-3 /proc/loadavg)"
ours
if command -v dockerd >/dev/null; then
    on_a dockerd --version
    swarm
else
    echo "dockerd is missing (apt-get install docker.io): Swarm is not measured"
fi
if command -v serf >/dev/null; then
    on_a serf version
    serf_failure
else
    echo "serf is missing (apt-get install serf): it is not measured"
fi

awk -F'|' '
    { if (!($1 in seen)) { seen[$1] = 1; what[++count] = $1 } ms[$1, $2] = $3 }
    function cell(w, side) { return ((w, side) in ms) ? ms[w, side] : "-" }
    END {
        printf "\n%-42s %12s %12s %12s\n", "ms", "UptimeMesh", "Swarm", "serf"
        for (i = 1; i <= count; i++) {
            w = what[i]
            printf "%-42s %12s %12s %12s\n", w, cell(w, "ours"), cell(w, "swarm"), cell(w, "serf")
        }
    }' "$work/rows"
