#!/bin/sh
# Updates the uptimemesh program of this node and always leaves a working one behind.
#
#   sh node-update.sh --version-url https://dl.example/version.json [options]
#
# The new program is fetched beside the old one, must match the checksum in the signed manifest, must run, and replaces
# the old one by a rename. Then the service is restarted and checked: a new program that is not healthy in time is replaced
# by the old one. A journal is written before the rename, so that the next run, or the next start of the service
# (--recover), finishes or undoes what a crash or a power cut interrupted. `uptimemesh update` runs this same script.
#
# Exit status:
#   0  the node has the wanted version, or there was nothing to do
#   1  another failure; the program was not changed
#   2  invalid command line
#   3  a file could not be fetched
#   4  a fetched file is not genuine, has expired, or is not understood: signature, manifest or checksum
#   5  another update of this node is running
#   6  the disk is full, or a directory is not writable
#   7  refused: a downgrade, a version other than the requested one, or one that was rolled back before (--retry)
#   8  held: an earlier ring has lost nodes, or its state is unknown
#   9  the new program does not run on this machine; it was not installed
#  10  the new program was not healthy; the old one is restored, and healthy
#  11  the new program was not healthy, and the old one is not healthy either or could not be restored: check this node
set -u
VERSION=2.0.0
LC_ALL=C
export LC_ALL
PATH=${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin
umask 022

# The key that releases are signed with, unless another is named.
OWN_KEY='-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA8MIhSE9DCYdBa8GcZK+HIPph5S2/g3b/UQPrmez5efs=
-----END PUBLIC KEY-----'

MANIFEST_BYTES_MAX=65536
SIGNATURE_BYTES_MAX=90
# The program has some six million bytes, a debug build a hundred million.
PROGRAM_BYTES_MAX=268435456
# Disk space that an update leaves free for other programs.
SPARE_KB=4096
# Time limit of a download: a slow line fetches the program in half an hour.
FETCH_S_MAX=1800
# Time limit of quick commands, such as printing the version.
ANSWER_S=20

usage() {
    sed "s/@VERSION@/$VERSION/" <<'END'
usage: sh node-update.sh [options]                           (version @VERSION@)

  --version-url URL       the release manifest, version.json [VERSION_URL]
  --channel NAME          the channel of the release (default stable) [UPDATE_CHANNEL]
  --want-version VERSION  refuse unless the channel has this version
  --bin PATH              the program (default /usr/local/bin/uptimemesh)
  --service NAME          the service that runs it (default: uptimemesh or uptimemesh-agent, whichever is there)
  --restart-command TEXT  shell command that restarts the service, where neither systemd nor OpenRC runs
  --health-url URL        the control plane to check (default: this machine's, for the service uptimemesh)
  --data-dir DIR          the control plane's data (default /var/lib/uptimemesh) [DATA_DIR]
  --status-file FILE      the agent's status file (default: as installed, for the service uptimemesh-agent)
  --health-wait SECONDS   time for the new program to become healthy before it is rolled back (default 120)
  --settle SECONDS        time for which it must stay healthy (default 5)
  --release-key FILE      public key (PEM) to trust instead of the built-in one [RELEASE_KEY_FILE]
  --allow-downgrade       accept an older version
  --allow-expired         accept a release that has expired or has no expiry date
  --retry                 accept a version that was rolled back before
  --ring N                ring of this node: wait (N-1) times --ring-wait, and stop if earlier rings lost nodes
  --ring-wait SECONDS     (default 600)
  --ring-label KEY        node label that holds the ring (default ring)
  --api-url URL           the control plane to query about earlier rings, with ...
  --api-token-file FILE   ... this API token, and ...
  --ca-file FILE          ... these certificate authorities
  --config FILE           settings of this node (default /etc/uptimemesh/uptimemesh.env)
  --state-dir DIR         lock, journal and state (default /var/lib/uptimemesh-update)
  --update-id ID          recorded in the state, to match it with the request
  --tries N               attempts for each download (default 4)
  --dry-run               print what would be done
  --recover               only finish or undo an interrupted update
  --json                  print the state at the end
  --help                  print this
END
}

# --- Messages and endings ---------------------------------------------------------------------------------------------------------------

# Removes passwords and tokens from URLs.
without_secrets() { sed 's,://[^/@ ]*@,://,g; s/\(:\/\/[^ ?]*\)[?][^ |]*/\1?.../g'; }

# say LEVEL EVENT MESSAGE [FIELDS]: one line of printable ASCII.
say() {
    case $1 in CRITICAL) mark=X ;; ERROR) mark=x ;; WARNING) mark=! ;; *) mark='*' ;; esac
    printf '%s | %-8s | update | (%s) %s | %s%s\n' "$(date -u '+%Y-%m-%d %H:%M:%S.000')" "$1" "$mark" "$2" "$3" "${4:+ | $4}" |
        without_secrets | tr -c ' -~\n' '?' | tr '\n' ' ' | cut -c 1-2000 >&2
}

# clean TEXT: replaces what would end a string in JSON.
clean() {
    printf '%s' "$1" | without_secrets | tr -c ' -~' '?' | tr '"\134' "'/" | cut -c 1-500
}

# keep_state STATE REASON: records the last result, for people and the agent.
keep_state() {
    if [ "$dry_run" = 1 ] || [ ! -d "$state_dir" ]; then return 0; fi
    printf '{"state":"%s","from":"%s","to":"%s","channel":"%s","update_id":"%s","reason":"%s","at":"%s"}\n' \
        "$1" "$(clean "$from")" "$(clean "$to")" "$(clean "$channel")" "$(clean "$update_id")" "$(clean "$2")" \
        "$(date -u '+%Y-%m-%dT%H:%M:%SZ')" >"$state_dir/state.json.new" &&
        sync_path "$state_dir/state.json.new" && mv -f "$state_dir/state.json.new" "$state_dir/state.json"
}

# end STATUS: exits; the only way out once the lock is held.
end() {
    trap '' INT TERM HUP
    [ -z "$work" ] || rm -rf "$work"
    [ -z "$own_lock" ] || rm -f "$own_lock"
    if [ "$json" = 1 ] && [ -f "$state_dir/state.json" ]; then cat "$state_dir/state.json"; fi
    exit "$1"
}

# fail STATUS EVENT WHY: exits before anything was replaced.
fail() {
    say ERROR "$2" "$3"
    [ "$own" = 0 ] || { rm -f "$staged"; keep_state failed "$3"; }
    end "$1"
}

wrong() {
    printf 'error: %s\n' "$1" >&2
    faults=1
    why="${why:+$why; }$1"
}

# --- Small tools ------------------------------------------------------------------------------------------------------------------------

has() { command -v "$1" >/dev/null 2>&1; }

# Flushes a path to the disk, or everything where sync accepts no path.
sync_path() { sync "$1" 2>/dev/null || sync; }

sum_of() {
    if has sha256sum; then sha256sum <"$1" | cut -c 1-64; else openssl dgst -sha256 -r <"$1" | cut -c 1-64; fi
}

# bounded SECONDS PROGRAM ARGUMENTS...: runs it with a time limit, without input and without our lock.
bounded() {
    bounded_s=$1
    shift
    if has timeout; then timeout -s KILL "$bounded_s" "$@" </dev/null 9>&-; else "$@" </dev/null 9>&-; fi
}

# version_of PROGRAM: prints its version; fails if it does not run.
version_of() {
    version_said=$(bounded "$ANSWER_S" "$1" version 2>/dev/null) || return 1
    case $version_said in
    "uptimemesh "*) version_said=${version_said#uptimemesh } ;;
    *) return 1 ;;
    esac
    is_version "$version_said" && printf '%s\n' "$version_said"
}

is_number() { case $1 in '' | *[!0-9]* | ?????????*) return 1 ;; esac; }
is_version() {
    [ ${#1} -le 64 ] && printf '%s\n' "$1" | awk 'NR > 1 || !/^[0-9]+[.][0-9]+[.][0-9]+(-[0-9A-Za-z-]+([.][0-9A-Za-z-]+)*)?$/ { bad = 1 } END { exit bad }'
}
is_name() { case $1 in '' | *[!a-z0-9-]*) return 1 ;; esac; [ ${#1} -le 32 ]; }
# is_moment: true if a text is a time in the form of a manifest. is_over: true if it has passed by this machine's clock.
is_moment() { case $1 in [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z) ;; *) return 1 ;; esac }
is_over() { awk -v a="$1" -v b="$(date -u '+%Y-%m-%dT%H:%M:%SZ')" 'BEGIN { exit a "" < b "" ? 0 : 1 }'; }
is_sum() { case $1 in *[!0-9a-f]*) return 1 ;; esac; [ ${#1} -eq 64 ]; }
is_url() {
    case $1 in http://[!/?#]* | https://[!/?#]*) ;; *) return 1 ;; esac
    case $1 in *[![:graph:]]* | *[\"\'\`\\\<\>{}\|^$]*) return 1 ;; esac
    [ ${#1} -le 2048 ]
}

# older A B: true if version A comes before B in the order of Semantic Versioning.
older() {
    awk -v a="$1" -v b="$2" '
        function compare(x, y,   m, n, i, p, q, s, t) {
            s = index(x, "-"); t = index(y, "-")
            m = split(s ? substr(x, 1, s - 1) : x, p, "."); split(t ? substr(y, 1, t - 1) : y, q, ".")
            for (i = 1; i <= m; i++) if (p[i] + 0 != q[i] + 0) return p[i] + 0 < q[i] + 0 ? -1 : 1
            if (!s || !t) return s ? -1 : (t ? 1 : 0)
            m = split(substr(x, s + 1), p, "."); n = split(substr(y, t + 1), q, ".")
            for (i = 1; i <= m && i <= n; i++) {
                if (p[i] "" == q[i] "") continue
                s = p[i] ~ /^[0-9]+$/; t = q[i] ~ /^[0-9]+$/
                if (s && t) return p[i] + 0 < q[i] + 0 ? -1 : 1
                if (s != t) return s ? -1 : 1
                return p[i] "" < q[i] "" ? -1 : 1
            }
            return m < n ? -1 : (m > n ? 1 : 0)
        }
        BEGIN { exit compare(a, b) < 0 ? 0 : 1 }'
}

# read_json: prints the leaves of the JSON on standard input, one per line: keys joined by /, a tab, the value. Fails on
# what two readers could understand differently: a repeated key, or an escape in a key.
read_json() {
    awk '
        function bad() { failed = 1; exit 1 }
        function take(what) {
            if (match(rest, what) != 1) return 0
            token = substr(rest, 1, RLENGTH); rest = substr(rest, RLENGTH + 1)
            return 1
        }
        function skip() { take("^[ \t\r\n]*") }
        # True if there is another item before this end.
        function more(end, count) {
            skip()
            if (take(end)) return 0
            if (count && !take("^,")) bad()
            skip()
            return 1
        }
        function text() { return take("^\"([^\"\\\\]|\\\\.)*\"") && token !~ /[[:cntrl:]]/ }
        function value(path, depth,   key, count) {
            if (depth > 16 || path in seen) bad()
            seen[path] = 1
            skip()
            if (take("^[{]")) {
                for (count = 0; more("^}", count); count++) {
                    if (!text() || token ~ /\\/) bad()
                    key = substr(token, 2, length(token) - 2)
                    skip()
                    if (!take("^:")) bad()
                    value(path (path == "" ? "" : "/") key, depth + 1)
                }
            } else if (take("^[[]")) {
                for (count = 0; more("^[]]", count); count++) value(path "/" count, depth + 1)
            } else if (text()) {
                leaves = leaves path "\t" substr(token, 2, length(token) - 2) "\n"
            } else if (take("^(true|false|null|-?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?)")) {
                leaves = leaves path "\t" token "\n"
            } else bad()
        }
        { rest = rest $0 "\n" }
        END {
            if (failed) exit 1
            value("", 0)
            skip()
            if (rest != "") bad()
            printf "%s", leaves
        }'
}

# field LEAVES PATH: prints the value of a leaf; fails if it does not exist.
field() {
    printf '%s\n' "$1" | awk -F '\t' -v path="$2" '$1 == path { print $2; found = 1; exit } END { exit !found }'
}

# fetch_once URL FILE BYTES SECONDS [OWN]: sets `why` on failure. This machine's OWN server is called without a proxy and
# without verifying its certificate.
fetch_once() {
    rm -f "$2"
    # The limit holds for any program that writes the file, and for responses without a length.
    if has curl; then
        why=$(ulimit -f $(($3 / 512 + 2)) && exec curl --silent --show-error --fail --location --max-redirs 5 --connect-timeout 10 \
            --speed-limit 1 --speed-time 60 --max-time "$4" --max-filesize "$3" ${5:+--noproxy '*' --insecure} --output "$2" -- "$1" 2>&1 9>&-) || return 1
    elif has wget; then
        # Some builds of busybox's wget crash on -T.
        patience=${5:+-Y off}
        if wget --version 2>/dev/null | grep -q '^GNU'; then patience="-t 1 -T 60${5:+ --no-proxy}"; fi
        case ${5:+$1} in https:*) patience="$patience --no-check-certificate" ;; esac
        # shellcheck disable=SC2086 # Words, or none.
        why=$(ulimit -f $(($3 / 512 + 2)) && bounded "$4" wget -q $patience -O "$2" "$1" 2>&1) || { why="wget failed: $why"; return 1; }
    elif [ -x "$bin" ] && bounded "$ANSWER_S" "$bin" release fetch --help >/dev/null 2>&1; then
        why=$(bounded "$4" "$bin" release fetch "$1" --out "$2" --bytes-max "$3" 2>&1) || return 1
    else
        why='neither curl nor wget is installed'
        return 1
    fi
    [ -f "$2" ] || { why='the response is empty'; return 1; }
    if [ "$(wc -c <"$2")" -gt "$3" ]; then
        why="it is longer than $3 bytes"
        return 1
    fi
}

# fetch URL FILE BYTES: retries with growing waits.
fetch() {
    fetch_try=1
    fetch_wait=1
    until fetch_once "$1" "$2" "$3" "$FETCH_S_MAX"; do
        if [ "$fetch_try" -ge "$tries" ]; then return 1; fi
        say WARNING update.fetch_failed "A download failed; retrying in $fetch_wait s" "url: $1 | error: $why"
        sleep "$fetch_wait"
        fetch_try=$((fetch_try + 1))
        fetch_wait=$((fetch_wait * 2))
    done
}

# has_room DIR KB: true if the directory has this much free space.
has_room() {
    room_kb=$(df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print $4 }')
    is_number "${room_kb:-x}" || return 0
    [ "$room_kb" -ge "$2" ]
}

# --- The lock ---------------------------------------------------------------------------------------------------------------------------

# started_at PID: start time of a process in ticks since boot. With the boot id and the pid it identifies one process for ever.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

# Allows one update at a time. The kernel releases flock's lock when its holder ends. Without flock each run creates a file
# that names its process and then looks for others: two simultaneous runs both give up, and files of dead ones are removed.
take_lock() {
    if has flock; then
        # A failed redirection would end this shell in exec, and in the colon command too: both are special built-ins.
        true 2>/dev/null >>"$state_dir/lock" || fail 6 update.no_room "$state_dir/lock cannot be written"
        exec 9>"$state_dir/lock"
        flock -n 9
        return
    fi
    lock_boot=$(cat /proc/sys/kernel/random/boot_id)
    own_lock="$state_dir/lock.$lock_boot.$$.$(started_at $$)"
    true 2>/dev/null >"$own_lock" || fail 6 update.no_room "$own_lock cannot be written"
    for lock_file in "$state_dir"/lock.*.*.*; do
        if [ "$lock_file" = "$own_lock" ] || [ ! -f "$lock_file" ]; then continue; fi
        lock_of=${lock_file#"$state_dir/lock."}
        lock_pid=${lock_of#*.}
        lock_pid=${lock_pid%%.*}
        if [ "${lock_of%%.*}" = "$lock_boot" ] && [ "$(started_at "$lock_pid")" = "${lock_of##*.}" ]; then
            rm -f "$own_lock"
            own_lock=
            return 1
        fi
        rm -f "$lock_file"
    done
}

# --- The journal ------------------------------------------------------------------------------------------------------------------------

# write_journal PHASE: `swap` before the program is replaced, `undo` before it is restored.
write_journal() {
    {
        printf 'phase=%s\nbin=%s\nfrom=%s\nfrom_sum=%s\nto=%s\nto_sum=%s\nchannel=%s\nupdate_id=%s\nbegan=%s\n' \
            "$1" "$bin" "$from" "$from_sum" "$to" "$to_sum" "$channel" "$update_id" "$began" >"$journal.new"
    } 2>/dev/null && sync_path "$journal.new" && mv -f "$journal.new" "$journal" && sync_path "$state_dir"
}

# journal_field NAME
journal_field() { sed -n "s/^$1=//p" "$journal" | head -n 1; }

# --- The service ------------------------------------------------------------------------------------------------------------------------

# Prints which service manager runs here.
manager() {
    if [ -n "$restart_command" ]; then
        echo command
    elif [ -d /run/systemd/system ] && has systemctl; then
        echo systemd
    elif has rc-service && [ -e /run/openrc/softlevel ]; then
        echo openrc
    else
        echo none
    fi
}

# has_service NAME: true if this machine runs the service or starts it at boot. Its file proves nothing: both are installed.
has_service() {
    case $(manager) in
    systemd) systemctl --quiet is-active "$1.service" || systemctl --quiet is-enabled "$1.service" 2>/dev/null ;;
    openrc) [ -e "/etc/runlevels/default/$1" ] || rc-service --quiet "$1" status >/dev/null 2>&1 ;;
    *) return 1 ;;
    esac
}

# is_running NAME
is_running() {
    case $(manager) in
    systemd) systemctl --quiet is-active "$1.service" ;;
    openrc) rc-service --quiet "$1" status >/dev/null 2>&1 ;;
    *) return 0 ;;
    esac
}

# Restarts the service, and before it the runner, where there is one: what that runs goes on meanwhile.
restart() {
    case $(manager) in
    command) bounded "$health_wait" sh -c "$restart_command" >&2 ;;
    none) [ -z "$service" ] || return 1 ;;
    *)
        # The service too if the runner fails: after an update that is undone, both have to work again.
        restart_status=0
        for restarted in $runner $service; do restart_one "$restarted" || restart_status=1; done
        return "$restart_status"
        ;;
    esac
}

# restart_one NAME
restart_one() {
    case $(manager) in
    systemd) bounded "$health_wait" systemctl restart "$1.service" >&2 ;;
    openrc) bounded "$health_wait" rc-service "$1" restart >&2 ;;
    esac
}

stop() {
    case $(manager) in
    systemd) [ -z "$service" ] || bounded "$health_wait" systemctl stop "$service.service" >&2 ;;
    openrc) [ -z "$service" ] || bounded "$health_wait" rc-service "$service" stop >&2 ;;
    # The old program has exited by itself if the database is too new for it.
    command | none) : ;;
    esac
}

# as_owner_of PATH PROGRAM ARGUMENTS...: runs it as the owner of PATH, who could have replaced any file that root would touch.
as_owner_of() {
    owner=$(stat -c %u "$1") && owner_group=$(stat -c %g "$1") && owner_name=$(stat -c %U "$1") || return 1
    shift
    if [ "$owner" = "$(id -u)" ]; then
        "$@"
    elif has setpriv && setpriv --reuid "$owner" --regid "$owner_group" --clear-groups true 2>/dev/null; then
        setpriv --reuid "$owner" --regid "$owner_group" --clear-groups "$@"
    else
        # shellcheck disable=SC2016 # The other shell's own words.
        su -s /bin/sh "$owner_name" -c 'exec "$@"' sh "$@"
    fi
}

# Prints the beginning of each file that a pattern matches, one per line. Opening for reading and writing does not block on a
# pipe, and the check is on the opened file: replacing it under the same name has no effect.
# shellcheck disable=SC2016 # The other shell's own words.
BEGINNINGS='
    IFS= count=0
    for file in $1; do
        count=$((count + 1))
        [ "$count" -le 64 ] || break
        [ -f "$file" ] && [ ! -L "$file" ] || continue
        { [ -f /proc/self/fd/3 ] && head -c 4096 <&3 | tr "\n\r" "  " && echo; } 3<>"$file"
    done'

# Prints the runs of the agent that the status files name.
runs() {
    [ -n "$status_files" ] || return 0
    runs_in=${status_files%%[*?[]*}
    runs_in=${runs_in%/*}
    [ -d "$runs_in" ] || return 0
    as_owner_of "$runs_in" sh -c "$BEGINNINGS" sh "$status_files" 2>/dev/null </dev/null 9>&- | while IFS= read -r run_line; do
        printf '%s\n' "$run_line" | read_json 2>/dev/null | awk -F '\t' '
            $1 == "run" { run = $2 } $1 == "version" { version = $2 } END { if (run != "" && version != "") print version, run }'
    done
}

# is_healthy VERSION RUNS-BEFORE: true if the installed program has this version and its service works; else sets `why`.
is_healthy() {
    why="$bin does not report version $1"
    [ "$(version_of "$bin")" = "$1" ] || return 1
    for wanted in $service $runner; do
        why="the service $wanted is not running"
        is_running "$wanted" || return 1
    done
    if [ -n "$health_url" ]; then
        health_file=$work/health
        fetch_once "$health_url/health" "$health_file" 65536 5 "$own_server" || { why="$health_url/health: $why"; return 1; }
        fetch_once "$health_url/version" "$health_file" 65536 5 "$own_server" || { why="$health_url/version: $why"; return 1; }
        health_version=$(leaves=$(read_json <"$health_file") && field "$leaves" version)
        why="$health_url reports ${health_version:-no version}, not $1"
        [ "$health_version" = "$1" ] || return 1
    fi
    if [ -n "$status_files" ]; then
        why="no heartbeat of an agent of version $1 was accepted since the restart"
        runs_before=" $(printf '%s' "$2" | tr '\n' ' ') "
        runs | while read -r run_version run; do
            case $runs_before in *" $run "*) continue ;; esac
            [ "$run_version" = "$1" ] && echo yes
        done | grep -q yes || return 1
    fi
}

# becomes_healthy VERSION RUNS-BEFORE: true if it is healthy in time and stays so.
becomes_healthy() {
    health_end=$(($(uptime_s) + health_wait))
    while :; do
        if is_healthy "$1" "$2"; then
            settled=$(runs)
            [ -z "$service$restart_command" ] || sleep "$settle"
            if is_healthy "$1" "$2" && [ "$(runs)" = "$settled" ]; then return 0; fi
        fi
        if [ "$(uptime_s)" -ge "$health_end" ]; then return 1; fi
        sleep 1
    done
}

# Seconds since boot, which corrections of the clock do not affect.
uptime_s() { cut -d . -f 1 /proc/uptime; }

# --- Replacing and restoring ------------------------------------------------------------------------------------------------------------

# Restores the previous program, unless it is in place. Fails if it no longer exists.
restore_program() {
    rm -f "$staged"
    if [ -z "$from_sum" ]; then
        # There was no program.
        rm -f "$bin"
        return 0
    fi
    if [ -f "$bin" ] && [ "$(sum_of "$bin")" = "$from_sum" ]; then return 0; fi
    if [ ! -f "$previous" ] || [ "$(sum_of "$previous")" != "$from_sum" ]; then return 1; fi
    rm -f "$bin.back"
    ln "$previous" "$bin.back" 2>/dev/null || cp -p "$previous" "$bin.back" || return 1
    sync_path "$bin.back" && mv -f "$bin.back" "$bin" && sync_path "$bin_dir"
}

# Restores a control plane's database from before the upgrade, as its owner: the old program refuses a newer one. Does
# nothing if the database is not newer; fails if there is no backup from before the upgrade.
restore_data() {
    data=${data_dir:-/var/lib/uptimemesh}
    if [ -z "$health_url" ] || [ ! -d "$data" ]; then return 1; fi
    case $began in '' | *[!0-9]*) return 1 ;; esac
    # The installed program has changed meanwhile.
    choose_reader
    undone=$(
        for name in BACKUP_DIR BACKUP_PASSPHRASE_FILE UPTIMEMESH_BACKUP_PASSPHRASE DATABASE_URL CLUSTER_PKI_DIR; do
            # A variable that is already exported wins, for example one from the service manager.
            eval "set_already=\${$name-}"
            value=$(setting "$name" 2>/dev/null) || value=''
            # shellcheck disable=SC2154 # eval sets it.
            if [ -z "$set_already" ] && [ -n "$value" ]; then export "$name=$value"; fi
        done
        set -- "$bin" backup undo-upgrade --since "$began" --data-dir "$data"
        if has timeout; then set -- timeout -s KILL "$FETCH_S_MAX" "$@"; fi
        cd / && as_owner_of "$data" "$@" 2>&1 </dev/null 9>&-
    )
    undone_status=$?
    say WARNING update.data "$undone" "data: $data"
    return "$undone_status"
}

# undo WHY: restores the previous program, restarts it, and exits.
undo() {
    undo_why=$1
    trap '' INT TERM HUP
    write_journal undo
    [ -z "$to_sum" ] || printf '%s\n' "$to_sum" >"$state_dir/failed"
    if ! restore_program; then
        say CRITICAL update.stuck "The new program failed and the old one could not be restored: install one by hand" "program: $bin | error: $undo_why"
        keep_state stuck "$undo_why"
        end 11
    fi
    before=$(runs)
    restart || true
    is_back=yes
    if [ -n "$from" ] && ! becomes_healthy "$from" "$before"; then
        is_back=no
        not_yet=$why
        # A control plane of the new version may have migrated the database, which the old one then refuses.
        if [ -n "$health_url" ] && { stop; restore_data; }; then
            before=$(runs)
            restart || true
            if becomes_healthy "$from" "$before"; then is_back=yes; fi
        else
            restart || true
            why=$not_yet
        fi
    fi
    if [ "$is_back" = no ]; then
        rm -f "$journal"
        [ -z "$health_url" ] || why="$why; if its log says that the database is newer, restore the backup made before the upgrade"
        say CRITICAL update.old_unhealthy "The old program was restored and is not healthy either: check this node" "from: $from | to: $to | error: $undo_why | now: $why"
        keep_state rolled_back_unhealthy "$undo_why; the old program: $why"
        end 11
    fi
    rm -f "$journal"
    sync_path "$state_dir"
    say ERROR update.rolled_back "The new program was not healthy; the old one was restored and is healthy" "from: $from | to: $to | error: $undo_why"
    keep_state rolled_back "$undo_why"
    end 10
}

# verify MESSAGE: restarts the service with the new program, checks its health, and rolls back if it is not healthy.
verify() {
    trap 'undo "the update was stopped by a signal"' INT TERM HUP
    before=$(runs)
    say INFO update.restart 'Restarting the service' "service: ${service:-none}"
    restart || undo 'the service could not be restarted'
    say INFO update.health 'Checking the health of the new program' "seconds: $health_wait"
    becomes_healthy "$to" "$before" || undo "$why"
    trap '' INT TERM HUP
    rm -f "$journal" "$state_dir/failed"
    sync_path "$state_dir"
    say INFO update.done "$1" "from: ${from:-none} | to: $to"
    keep_state updated ''
}

# Finishes or undoes an interrupted update. With --recover nothing is started: the start of the service calls it, and an
# unattended machine must not try a program that was never found healthy.
recover() {
    rm -f "$journal.new" "$state_dir/state.json.new"
    if [ ! -f "$journal" ]; then
        rm -f "$staged" "$bin.back" "$previous.new"
        # A run that was stopped while fetching left no journal, and is no longer running.
        if [ "$only_recover" = 1 ] && leaves=$(read_json <"$state_dir/state.json"); then
            from=$(field "$leaves" from) to=$(field "$leaves" to) channel=$(field "$leaves" channel) update_id=$(field "$leaves" update_id)
            keep_state failed 'a previous run was stopped before it replaced the program'
        fi
        return 0
    fi
    bin=$(journal_field bin) from=$(journal_field from) from_sum=$(journal_field from_sum) to=$(journal_field to) to_sum=$(journal_field to_sum)
    channel=$(journal_field channel) update_id=$(journal_field update_id) began=$(journal_field began)
    set_paths
    phase=$(journal_field phase)
    in_place=
    if [ -f "$bin" ]; then in_place=$(sum_of "$bin"); fi
    if [ "$in_place" = "$from_sum" ]; then
        rm -f "$staged" "$bin.back"
        say WARNING update.forgotten 'A previous run was stopped; the program was not changed' "from: ${from:-none} | to: $to"
        # It may have been stopped before the service was restarted.
        if [ "$phase" = undo ] && [ "$only_recover" = 0 ]; then undo 'a previous run was stopped while it undid the update'; fi
        if [ "$phase" = undo ]; then
            restore_data || true
            keep_state rolled_back 'the update was undone at the start of the service'
        else
            keep_state failed 'a previous run was stopped before it replaced the program'
        fi
        rm -f "$journal"
    elif [ "$only_recover" = 0 ] && [ "$phase" = swap ] && [ "$in_place" = "$to_sum" ]; then
        verify 'Finished an interrupted update: the node is updated'
    elif [ "$only_recover" = 0 ]; then
        undo 'a previous run was stopped while it undid the update'
    elif restore_program; then
        restore_data || true
        say WARNING update.undone 'An interrupted update was never found healthy; the old program was restored' "from: ${from:-none} | to: $to"
        keep_state rolled_back 'the update was stopped before the new program was found healthy'
        rm -f "$journal"
    else
        say CRITICAL update.stuck 'An interrupted update was never found healthy and the old program could not be restored: install one by hand' "program: $bin"
        keep_state stuck 'the old program could not be restored'
        end 11
    fi
    sync_path "$state_dir"
}

# Sets the paths of the program's files.
set_paths() {
    bin_dir=$(dirname "$bin")
    staged=$bin.new
    previous=$bin.previous
}

# --- The command line -------------------------------------------------------------------------------------------------------------------

version_url=${VERSION_URL:-} channel=${UPDATE_CHANNEL:-} key_file=${RELEASE_KEY_FILE:-} want='' bin=/usr/local/bin/uptimemesh
service='' restart_command='' health_url='' data_dir='' status_files='' health_wait=120 settle=5 allow_downgrade=0 allow_expired=0 retry=0 ring=1 ring_wait=600 ring_label=ring
api_url='' api_token_file='' ca_file='' config=/etc/uptimemesh/uptimemesh.env state_dir=/var/lib/uptimemesh-update update_id='' tries=4
dry_run=0 only_recover=0 json=0
faults=0 from='' from_sum='' to='' to_sum='' work='' own=0 own_lock='' why=''

while [ $# -gt 0 ]; do
    option=$1
    shift
    case $option in
    --allow-downgrade) allow_downgrade=1 && continue ;;
    --allow-expired) allow_expired=1 && continue ;;
    --retry) retry=1 && continue ;;
    --dry-run) dry_run=1 && continue ;;
    --recover) only_recover=1 && continue ;;
    --json) json=1 && continue ;;
    --help) usage && exit 0 ;;
    --*=*)
        value=${option#*=}
        option=${option%%=*}
        ;;
    --*)
        if [ $# -eq 0 ]; then wrong "$option needs a value, or is unknown" && continue; fi
        value=$1
        shift
        ;;
    *) wrong "unexpected argument $option" && continue ;;
    esac
    case $option in
    --version-url) version_url=$value ;;
    --channel) channel=$value ;;
    --want-version) want=$value ;;
    --bin) bin=$value ;;
    --service) service=$value ;;
    --restart-command) restart_command=$value ;;
    --health-url) health_url=${value%/} ;;
    --data-dir) data_dir=$value ;;
    --status-file) status_files=$value ;;
    --health-wait) health_wait=$value ;;
    --settle) settle=$value ;;
    --release-key) key_file=$value ;;
    --ring) ring=$value ;;
    --ring-wait) ring_wait=$value ;;
    --ring-label) ring_label=$value ;;
    --api-url) api_url=$value ;;
    --api-token-file) api_token_file=$value ;;
    --ca-file) ca_file=$value ;;
    --config) config=$value ;;
    --state-dir) state_dir=$value ;;
    --update-id) update_id=$value ;;
    --tries) tries=$value ;;
    *) wrong "unknown option $option" ;;
    esac
done

# setting NAME: prints a setting of this node, read by the program. If that is too old or does not run, only unambiguous
# lines are understood.
setting() {
    [ -e "$config" ] || return 0
    if [ "$settings_by" = program ]; then
        bounded "$ANSWER_S" "$bin" config get "$1" --file "$config" 2>&1
        return
    fi
    awk -v name="$1" '
        toupper($0) ~ "(^|[^A-Z0-9_])" name "[ \t]*=" && !/^[ \t]*#/ {
            said = index($0, name "=") == 1 ? substr($0, length(name) + 2) : " "
            if (said ~ /^"[^"\\]*"$/ || said ~ /^\047[^\047]*\047$/) said = substr(said, 2, length(said) - 2)
            else if (said !~ "^[A-Za-z0-9._:/@,+%=?&-]*$") bad = NR
        }
        END {
            if (bad) print FILENAME " line " bad ": the installed program is too old to read it: write " name "=value without blanks, or in quotes"
            else print said
            exit bad != ""
        }' "$config" 2>&1
}
choose_reader() {
    settings_by=''
    if [ -e "$config" ] && bounded "$ANSWER_S" "$bin" config get --help >/dev/null 2>&1; then settings_by=program; fi
}
settings_by=''
# With --recover the installed program may be the broken one: do not run it.
[ "$only_recover" = 1 ] || choose_reader
for name in VERSION_URL RELEASE_KEY_FILE UPDATE_CHANNEL DATA_DIR SERVER_HOST SERVER_PORT TLS; do
    if ! value=$(setting "$name"); then
        # Restoring a program needs none of them.
        [ "$only_recover" = 1 ] || wrong "$value"
        config=''
    fi
done
version_url=${version_url:-$(setting VERSION_URL)}
key_file=${key_file:-$(setting RELEASE_KEY_FILE)}
channel=${channel:-$(setting UPDATE_CHANNEL)}
channel=${channel:-stable}
# Restoring a program needs no release: wrong settings for those must not prevent it.
if [ "$only_recover" = 1 ]; then version_url='' key_file='' channel=stable; fi

if [ "$only_recover" = 0 ]; then
    [ -n "$version_url" ] || [ "$faults" = 1 ] || wrong 'the release is missing: give --version-url URL, or set VERSION_URL in the settings of this node'
    [ -z "$version_url" ] || is_url "$version_url" || wrong '--version-url must be an http or https URL'
fi
is_name "$channel" || wrong '--channel must be 1 to 32 characters of a-z 0-9 -'
[ -z "$want" ] || is_version "$want" || wrong '--want-version must be a version, like 2.1.0'
[ -z "$health_url" ] || is_url "$health_url" || wrong '--health-url must be an http or https URL'
case $bin in /*[!/]) ;; *) wrong '--bin must be an absolute path' ;; esac
case $state_dir in /*[!/]) ;; *) wrong '--state-dir must be an absolute path' ;; esac
case $service in -* | *[!A-Za-z0-9@._-]*) wrong '--service must be the name of a service' ;; esac
case $update_id in *[!A-Za-z0-9._:-]*) wrong '--update-id must be characters of A-Z a-z 0-9 . _ : -' ;; esac
case $ring_label in '' | *[!A-Za-z0-9._/-]*) wrong '--ring-label must be the key of a label' ;; esac
for number in "health-wait $health_wait" "settle $settle" "ring $ring" "ring-wait $ring_wait" "tries $tries"; do
    is_number "${number#* }" || wrong "--${number%% *} must be a whole number"
done
if is_number "$ring" && [ "$ring" -lt 1 ]; then wrong '--ring must be 1 or more'; fi
[ -z "$key_file" ] || [ -r "$key_file" ] || wrong "the release key $key_file cannot be read"
if [ "$faults" = 1 ]; then
    echo 'Try: sh node-update.sh --help' >&2
    # Otherwise a remote caller would wait for ever.
    to=$want
    [ -z "$update_id" ] || keep_state failed "$why"
    exit 2
fi

set_paths
journal=$state_dir/journal
if [ -z "$service" ] && [ -z "$restart_command" ]; then
    for service in uptimemesh uptimemesh-agent ''; do
        if [ -z "$service" ] || has_service "$service"; then break; fi
    done
fi
# The service that runs the work of this machine has the same program.
runner=''
if [ -n "$service" ] && has_service uptimemesh-runner; then runner=uptimemesh-runner; fi
own_server='' began=''
data_dir=${data_dir:-${DATA_DIR:-$(setting DATA_DIR)}}
if [ -z "$health_url$status_files" ]; then
    port=${SERVER_PORT:-$(setting SERVER_PORT)}
    host=${SERVER_HOST:-$(setting SERVER_HOST)}
    case $host in
    '' | 0.0.0.0 | :: | '[::]') host=127.0.0.1 ;;
    '['*) ;;
    *:*) host="[$host]" ;;
    esac
    # Plain HTTP is for loopback, or for a server without TLS.
    scheme=https
    case $host in 127.* | localhost) scheme=http ;; esac
    [ "${TLS:-$(setting TLS)}" != off ] || scheme=http
    case $service in
    uptimemesh) health_url=$scheme://$host:${port:-8000} own_server=yes ;;
    uptimemesh-agent) status_files="${data_dir:-/var/lib/uptimemesh}/identities/*/status.json" ;;
    esac
fi
case $health_url in http://127.* | http://localhost*) own_server=yes ;; esac

# --- The ring ---------------------------------------------------------------------------------------------------------------------------

# Runs a command against the control plane and prints its table.
query() {
    set -- "$@" --api-token-file "$api_token_file"
    [ -z "$api_url" ] || set -- "$@" --api-url "$api_url"
    [ -z "$ca_file" ] || set -- "$@" --ca-file "$ca_file"
    bounded 60 "$bin" "$@" 2>&1
}

# True if every node of the earlier rings is alive; else sets `why`.
earlier_rings_are_well() {
    why='--ring needs --api-token-file, to check the earlier rings'
    [ -n "$api_token_file" ] || return 1
    leases=$(query nodes-status) || { why="could not query the control plane: $leases"; return 1; }
    ring_before=1
    while [ "$ring_before" -lt "$ring" ]; do
        members=$(query nodes --label "$ring_label=$ring_before") || { why="could not query the control plane: $members"; return 1; }
        lost=$(printf '%s\n----\n%s\n' "$leases" "$members" | awk -F '\t' '
            $0 == "----" { second = 1; next }
            !second { state[$1] = $3; next }
            $1 != "NODE" && state[$1] != "alive" { printf "%s ", $1 }')
        why="ring $ring_before has lost nodes: $lost"
        [ -z "$lost" ] || return 1
        ring_before=$((ring_before + 1))
    done
}

# --- The update -------------------------------------------------------------------------------------------------------------------------

if [ "$dry_run" = 0 ] && [ "$only_recover" = 0 ] && [ "$ring" -gt 1 ]; then
    say INFO update.ring_wait "Waiting for earlier rings" "ring: $ring | seconds: $(((ring - 1) * ring_wait))"
    sleep $(((ring - 1) * ring_wait))
fi

if [ "$dry_run" = 1 ]; then
    work=$(mktemp -d) || fail 6 update.no_room 'could not create a temporary directory'
    trap 'end 1' INT TERM HUP
else
    if [ "$only_recover" = 1 ] && [ ! -e "$journal" ] && ! grep -q '"state":"running"' "$state_dir/state.json" 2>/dev/null; then end 0; fi
    if ! mkdir -p "$state_dir" 2>/dev/null || [ ! -w "$state_dir" ]; then fail 6 update.no_room "$state_dir cannot be written: run this as root, or give --state-dir"; fi
    if ! take_lock; then
        # A service that a running update restarts gets here: that update is in charge.
        [ "$only_recover" = 0 ] || end 0
        say WARNING update.busy 'Another update of this node is running'
        end 5
    fi
    own=1
    trap 'fail 1 update.stopped "the update was stopped by a signal"' INT TERM HUP
    work=$state_dir/work
    rm -rf "$work"
    # Restoring a program needs no space.
    mkdir "$work" 2>/dev/null || [ "$only_recover" = 1 ] || fail 6 update.no_room "$state_dir cannot be written"
    asked_bin=$bin asked_channel=$channel asked_id=$update_id
    recover
    [ "$only_recover" = 0 ] || end 0
    bin=$asked_bin channel=$asked_channel update_id=$asked_id from='' from_sum='' to='' to_sum=''
    set_paths
    # Finishing the previous run disabled the traps.
    trap 'fail 1 update.stopped "the update was stopped by a signal"' INT TERM HUP
fi

if [ -e "$bin" ]; then
    from=$(version_of "$bin") || say WARNING update.old_broken 'The installed program does not run; any version is accepted' "program: $bin"
    [ "$dry_run" = 1 ] || from_sum=$(sum_of "$bin") || fail 1 update.failed "$bin cannot be read"
fi

if ! fetch "$version_url" "$work/version.json" "$MANIFEST_BYTES_MAX"; then fail 3 update.unreachable "could not fetch $version_url: $why"; fi
if ! fetch "${version_url%%[?#]*}.sig" "$work/version.json.sig" "$SIGNATURE_BYTES_MAX"; then fail 3 update.unreachable "could not fetch the signature of $version_url: $why"; fi

# The manifest is verified before anything in it is read.
if [ -n "$key_file" ]; then cat "$key_file"; else printf '%s\n' "$OWN_KEY"; fi >"$work/key" || fail 6 update.no_room "$work cannot be written"
if [ -n "$from" ] && verify_help=$(bounded "$ANSWER_S" "$bin" release verify --help 2>/dev/null); then
    # Expiry is checked below, because an old program does not check it.
    case $verify_help in *--allow-expired*) set -- --allow-expired ;; *) set -- ;; esac
    why=$(bounded "$ANSWER_S" "$bin" release verify "$work/version.json" --release-key "$work/key" "$@" 2>&1) || fail 4 update.not_genuine "$why"
elif has openssl && openssl pkeyutl -help 2>&1 | grep -q rawin; then
    openssl base64 -d -A -in "$work/version.json.sig" -out "$work/raw" 2>/dev/null
    openssl pkeyutl -verify -pubin -inkey "$work/key" -rawin -in "$work/version.json" -sigfile "$work/raw" >/dev/null 2>&1 ||
        fail 4 update.not_genuine 'the manifest is not signed with the release key'
else
    fail 4 update.not_genuine 'no program here can verify the signature of the manifest: install openssl 3'
fi

case $(uname -s)-$(uname -m) in
Linux-x86_64 | Linux-amd64) architecture=linux-amd64 ;;
Linux-aarch64 | Linux-arm64) architecture=linux-arm64 ;;
*) fail 4 update.not_understood "there is no release for $(uname -s) on $(uname -m)" ;;
esac
leaves=$(read_json <"$work/version.json") || fail 4 update.not_understood 'the manifest is not valid JSON'
[ "$(field "$leaves" schema_version)" = 1 ] || fail 4 update.not_understood 'the manifest has another schema version: a newer updater is needed'
# An old release is genuine, but may have vulnerabilities that are known by now.
if [ "$allow_expired" = 0 ]; then
    expires=$(field "$leaves" expires) || expires=''
    is_moment "$expires" ||
        fail 4 update.expired 'the manifest has no expiry date, so it may be an old one: --allow-expired accepts it anyway'
    ! is_over "$expires" ||
        fail 4 update.expired "the manifest expired at $expires, and this machine's clock says $(date -u '+%Y-%m-%dT%H:%M:%SZ'): get a newer release, or set the clock; --allow-expired accepts it anyway"
fi
[ "$(field "$leaves" "channels/$channel/agent/name")" = uptimemesh ] || fail 4 update.not_understood "the manifest has no channel $channel with the program uptimemesh"
to=$(field "$leaves" "channels/$channel/agent/version")
is_version "$to" || fail 4 update.not_understood 'the manifest has no valid version'
url=$(field "$leaves" "channels/$channel/agent/artifacts/$architecture/url") || fail 4 update.not_understood "the manifest has no program for $architecture"
to_sum=$(field "$leaves" "channels/$channel/agent/artifacts/$architecture/sha256")
is_sum "$to_sum" || fail 4 update.not_understood 'the manifest has no valid checksum'
if ! is_url "$url"; then
    printf '%s\n' "$url" | awk 'NR > 1 || !/^[A-Za-z0-9_][A-Za-z0-9._-]*(\/[A-Za-z0-9_][A-Za-z0-9._-]*)*$/ { bad = 1 } END { exit bad }' ||
        fail 4 update.not_understood 'the manifest has no valid location of the program'
    directory=${version_url%%[?#]*}
    url=${directory%/*}/$url
fi

if [ -n "$want" ] && [ "$want" != "$to" ]; then fail 7 update.other_version "the channel $channel has $to, not the requested $want"; fi
if [ -n "$from" ] && [ "$from" = "$to" ]; then
    say INFO update.current 'The program has the wanted version' "version: $to"
    keep_state updated ''
    end 0
fi
if [ -n "$from" ] && older "$to" "$from" && [ "$allow_downgrade" = 0 ]; then
    fail 7 update.downgrade "the channel $channel has $to, which is older than $from: --allow-downgrade accepts it anyway"
fi
if [ "$retry" = 0 ] && [ -f "$state_dir/failed" ] && [ "$(cat "$state_dir/failed")" = "$to_sum" ]; then
    fail 7 update.failed_before "$to was rolled back on this node before: --retry accepts it anyway"
fi
if [ "$ring" -gt 1 ] && ! earlier_rings_are_well; then fail 8 update.held "$why"; fi

if [ "$dry_run" = 1 ]; then
    say INFO update.would 'This would be installed' "from: ${from:-none} | to: $to | url: $url | program: $bin | service: ${service:-none}"
    end 0
fi
keep_state running ''

# Leaves space for a program twice the size of the old one.
want_kb=$SPARE_KB
if [ -f "$bin" ]; then want_kb=$(($(wc -c <"$bin") / 512 + SPARE_KB)); fi
if ! has_room "$bin_dir" "$want_kb"; then fail 6 update.no_room "$bin_dir has $room_kb kB free, and $want_kb kB are needed"; fi
true 2>/dev/null >"$staged" || fail 6 update.no_room "$bin_dir cannot be written"
say INFO update.fetch 'Fetching the program' "from: ${from:-none} | to: $to | url: $url"
if ! fetch "$url" "$staged" "$PROGRAM_BYTES_MAX"; then
    if ! has_room "$bin_dir" "$SPARE_KB"; then fail 6 update.no_room "$bin_dir is full"; fi
    fail 3 update.unreachable "could not fetch $url: $why"
fi
found=$(sum_of "$staged")
[ "$found" = "$to_sum" ] || fail 4 update.wrong_sum "the program from $url has the checksum $found, not $to_sum"
if ! chmod 755 "$staged" || ! sync_path "$staged"; then fail 6 update.no_room "$staged cannot be written"; fi
# Checks that the program runs on this machine before the old one is touched.
said=$(version_of "$staged") || fail 9 update.does_not_run "the new program does not run on this machine"
[ "$said" = "$to" ] || fail 9 update.does_not_run "the new program reports version $said, not $to"

# The start of the service recovers with the copy in the state directory, even if the program is broken.
if [ -f "$0" ] && ! cmp -s "$0" "$state_dir/node-update.sh"; then
    copy=$state_dir/node-update.sh.new
    if ! cp "$0" "$copy" || ! chmod 755 "$copy" || ! sync_path "$copy" || ! mv -f "$copy" "$state_dir/node-update.sh"; then
        fail 6 update.no_room "$state_dir cannot be written"
    fi
fi
if [ -n "$from_sum" ] && ! cmp -s "$bin" "$previous"; then
    rm -f "$previous.new"
    ln "$bin" "$previous.new" 2>/dev/null || cp -p "$bin" "$previous.new" || fail 6 update.no_room "could not keep the old program as $previous"
    sync_path "$previous.new"
    mv -f "$previous.new" "$previous" || fail 6 update.no_room "could not keep the old program as $previous"
fi
began=$(date +%s)
write_journal swap || fail 6 update.no_room "$journal cannot be written"
trap 'undo "the update was stopped by a signal"' INT TERM HUP
say INFO update.swap 'Replacing the program' "from: ${from:-none} | to: $to"
if ! mv -f "$staged" "$bin" || ! sync_path "$bin_dir"; then undo 'the new program could not replace the old one'; fi
verify 'The node is updated'
end 0
