#!/bin/sh
# The path of a new user on two machines, beside Docker Swarm in the same run: how long each step takes, and how many
# commands, flags and answers a person types.
#
#   cargo build --release && sh tests/bench/peers/path.sh [PROGRAM]
#
# Runs as root. Needs iproute2, python3, and for Swarm's half Debian's docker.io and busybox; without dockerd it
# measures UptimeMesh alone. See machines.sh for what a machine is; a veth pair connects the two.
#
# Not counted, on either side: installing the program, starting Docker's daemon (a package does), building an image.
set -eu

program=$(realpath "${1:-target/release/uptimemesh}")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
# shellcheck source=/dev/null
. "$here/machines.sh"

[ -x "$program" ] || fail "$program is missing: cargo build --release"

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
