#!/bin/sh
# Installs UptimeMesh on this machine, as the first node of a cluster or as one that joins; see `install.sh help`.
# POSIX sh: dash, busybox ash. The program is accepted only if it is signed with the release key below; units and all
# other files come out of the program.
set -eu

PROGRAM=uptimemesh
ACCOUNT=uptimemesh
# The user that replicas run as, unless /etc/uptimemesh/runner.conf names another.
WORK_ACCOUNT=uptimemesh-work
# Where releases are fetched from, unless --version-url is given.
VERSION_URL=${VERSION_URL:-}
RELEASE_KEY='-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA8MIhSE9DCYdBa8GcZK+HIPph5S2/g3b/UQPrmez5efs=
-----END PUBLIC KEY-----'
# Size limits in bytes of a manifest and of a program; more is refused before it fills the disk.
MANIFEST_BYTES_MAX=65536
PROGRAM_BYTES_MAX=67108864
# Seconds within which a started service must be healthy.
HEALTHY_WITHIN_S=60

usage() {
    cat <<'EOF'
usage: install.sh first [options]                    a control plane, and this machine as its first node
       install.sh join --join-file FILE [options]    this machine as a node of the cluster that made the join string
       install.sh uninstall [--purge]                remove the services; data, configuration and log stay unless --purge

Run again, first and join upgrade the program, the units and the service, and keep data and configuration. All checks
run before anything is changed, and every problem is reported at once.

options:
  --bin FILE           install this program instead of fetching one
  --version-url URL    version.json of a release; its signature is beside it as version.json.sig [VERSION_URL]
  --channel NAME       the channel of the release (default stable)
  --allow-expired      accept a release that has expired or has no expiry date
  --release-key FILE   public key (PEM) to trust instead of the one in this script
  --node-id ID         this machine's node (default: its host name); --name is the same
  --join-file FILE     join: file with the join string; - reads standard input
  --host ADDRESS       first: address to listen on (default: all of IPv6 and IPv4)
  --port NUMBER        first: port to listen on (default 8000)
  --init NAME          systemd or openrc (default: what this machine runs)
  --prefix DIR         install program, manual and completions below DIR (default /usr/local, or where they are already)
  --root DIR           write below DIR, for a package or an image; creates no account and starts nothing
  --no-start           install and enable, but do not start
  --dry-run            run all checks and print every step, but do nothing
  --purge              uninstall: remove data, configuration, log and account too
EOF
}

say() { printf '%s\n' "install: $*"; }
fail() {
    for line in "$@"; do printf '%s\n' "error: $line" >&2; done
    exit 1
}

# Prints a step and runs it.
step() {
    what=$1
    shift
    if [ "$dry_run" = yes ]; then
        say "would $what"
    else
        say "$what"
        "$@"
    fi
}

have() { command -v "$1" >/dev/null 2>&1; }

faults=''
fault() { faults="$faults$1
"; }

is_id() {
    case $1 in
        '' | *[!A-Za-z0-9._:-]* | [!A-Za-z0-9]*) return 1 ;;
    esac
    [ "${#1}" -le 64 ]
}

# ---- the command line

action=${1:-}
[ $# -eq 0 ] || shift
bin='' node_id='' join_file='' host='' port='' init='' root='' release_key='' channel=stable prefix=''
dry_run=no purge=no start=yes fetched=no allow_expired=no
while [ $# -gt 0 ]; do
    name=$1
    shift
    case $name in
        --dry-run) dry_run=yes ;;
        --purge) purge=yes ;;
        --no-start) start=no ;;
        --allow-expired) allow_expired=yes ;;
        -h | --help) usage; exit 0 ;;
        --*=*) set -- "${name%%=*}" "${name#*=}" "$@" ;;
        --bin | --version-url | --channel | --release-key | --node-id | --name | --join-file | --host | --port | --init | --prefix | --root)
            if [ $# -eq 0 ]; then
                fault "$name needs a value"
                break
            fi
            case $name in
                --bin) bin=$1 ;;
                --version-url) VERSION_URL=$1 ;;
                --channel) channel=$1 ;;
                --release-key) release_key=$1 ;;
                --node-id | --name) node_id=$1 ;;
                --join-file) join_file=$1 ;;
                --host) host=$1 ;;
                --port) port=$1 ;;
                --init) init=$1 ;;
                --prefix) prefix=${1%/} ;;
                --root) root=${1%/} ;;
            esac
            shift
            ;;
        # It may be a join string: do not repeat a secret.
        umj1:*) fault "a join string must not be given on the command line, where every user of this machine can read it: use --join-file FILE" ;;
        --*) fault "unknown option $name" ;;
        *) fault "unexpected argument $name" ;;
    esac
done

case $action in
    first | join | uninstall) ;;
    help | -h | --help) usage; exit 0 ;;
    umj1:*) fault "a join string must not be given on the command line, where every user of this machine can read it: install.sh join --join-file FILE" ;;
    '') fault "an action is missing: first, join or uninstall" ;;
    *) fault "unknown action $action: use first, join or uninstall" ;;
esac

if [ -n "$node_id" ] && ! is_id "$node_id"; then
    fault "--node-id must be 1 to 64 characters of A-Z a-z 0-9 . _ : -, the first a letter or digit"
fi
if [ -n "$port" ]; then
    case $port in
        *[!0-9]* | ??????*) fault "--port must be a whole number from 1 to 65535, not $port" ;;
        *) if [ "$port" -lt 1 ] || [ "$port" -gt 65535 ]; then fault "--port must be a whole number from 1 to 65535, not $port"; fi ;;
    esac
fi
case $host in *[!A-Za-z0-9.:-]*) fault "--host must be an address, not $host" ;; esac
case $channel in '' | *[!A-Za-z0-9._-]*) fault "--channel may contain letters, digits, dots, underscores and dashes, not $channel" ;; esac
case $prefix in
    '' | /[A-Za-z0-9]*) case $prefix in *[!A-Za-z0-9./_-]* | */../* | */..) fault "--prefix must be a plain path without spaces, not $prefix" ;; esac ;;
    *) fault "--prefix must be an absolute path such as /opt/uptimemesh, not $prefix" ;;
esac
[ "$prefix" != /usr ] || fault "--prefix /usr is reserved for packages"
case $init in '' | systemd | openrc) ;; *) fault "--init must be systemd or openrc, not $init" ;; esac
[ -z "$root" ] || [ -d "$root" ] || fault "--root $root is not a directory"
[ -z "$bin" ] || [ -f "$bin" ] || fault "--bin $bin does not exist"
[ -z "$release_key" ] || [ -r "$release_key" ] || fault "--release-key $release_key cannot be read"
if [ "$action" = join ]; then
    [ -z "$host$port" ] || fault "--host and --port are for the first node: a joining node does not listen"
    [ -z "$join_file" ] || [ "$join_file" = - ] || [ -r "$join_file" ] || fault "--join-file $join_file cannot be read"
elif [ -n "$join_file" ]; then
    fault "--join-file is for join"
fi
[ "$purge" = no ] || [ "$action" = uninstall ] || fault "--purge is for uninstall"
if [ "$action" = first ] || [ "$action" = join ]; then
    [ -n "$bin$VERSION_URL" ] || fault "the program is missing: give --bin FILE, or --version-url URL of a release"
fi
[ -n "$root" ] || [ "$(id -u)" = 0 ] || fault "this needs root to create a user and services: use sudo or doas"

# ---- the machine

case $(uname -s)/$(uname -m) in
    Linux/x86_64 | Linux/amd64) arch=linux-amd64 ;;
    Linux/aarch64 | Linux/arm64) arch=linux-arm64 ;;
    *)
        arch=''
        [ -n "$bin" ] || [ "$action" = uninstall ] ||
            fault "there is no release for $(uname -s) on $(uname -m): build the program there and give it with --bin"
        ;;
esac

if [ -n "$init" ]; then
    # The named init system must be present to enable services; below --root OpenRC needs nothing.
    case $init in
        systemd) have systemctl || fault "--init systemd needs systemctl, which is not installed" ;;
        openrc) [ -n "$root" ] || { have rc-service && have rc-update; } || fault "--init openrc needs rc-service and rc-update, which are not installed" ;;
    esac
    if [ "$init" = systemd ] && [ -z "$root" ] && [ "$start" = yes ] && [ ! -d /run/systemd/system ] && [ "$action" != uninstall ]; then
        fault "systemd is not running on this machine and cannot start services: --no-start installs and enables them"
    fi
else
    if [ -d "$root/run/systemd/system" ] && have systemctl; then
        init=systemd
    elif [ -x "$root/sbin/openrc-run" ] && have rc-service; then
        init=openrc
    else
        fault "neither systemd nor OpenRC runs on this machine: run \`uptimemesh up\` or \`uptimemesh agent\` under its service manager, or give --init"
    fi
fi

# Exits with every fault found, if there are any.
end_at_faults() {
    [ -n "$faults" ] || return 0
    printf '%s' "$faults" | while IFS= read -r line; do printf '%s\n' "error: $line" >&2; done
    echo "$2" >&2
    exit "$1"
}
end_at_faults 2 "Try: install.sh help"

# ---- the tools

install_hint() {
    if have apt-get; then
        echo "apt-get install $1"
    elif have apk; then
        echo "apk add $1"
    elif have dnf; then
        echo "dnf install $1"
    else
        echo "with this system's package manager"
    fi
}

check_tools() {
    for tool in awk cat chmod chgrp chown cmp cp cut df grep head id ln ls mkdir mktemp mv rm rmdir sed sleep stat tail tr uname wc; do
        have "$tool" || fault "$tool is not installed: install it ($(install_hint coreutils))"
    done
    if [ -z "$root" ]; then
        [ "$action" != join ] || have su || fault "su is not installed: install it ($(install_hint util-linux))"
        id "$ACCOUNT" >/dev/null 2>&1 || have useradd || have adduser ||
            fault "neither useradd nor adduser is installed: create the user $ACCOUNT and a group of the same name, then run this again"
    fi
    if [ -z "$bin" ]; then
        have openssl || fault "verifying a release needs openssl: install it ($(install_hint openssl)), or give the program with --bin"
        have curl || have wget || fault "fetching needs curl or wget: install one of them, or give the program with --bin"
    fi
}

if [ "$action" != uninstall ]; then check_tools; fi
end_at_faults 1 "Nothing was changed on this machine."

# ---- places

state=$root/var/lib/uptimemesh
updates=$root/var/lib/uptimemesh-update
runner_dir=$root/var/lib/uptimemesh-runner
log_dir=$root/var/log/uptimemesh
etc=$root/etc/uptimemesh
env_file=$etc/uptimemesh.env
policy=$etc/runner.conf
rotation=$root/etc/logrotate.d/uptimemesh
case $init in
    systemd) unit_dir=$root/etc/systemd/system ;;
    openrc) unit_dir=$root/etc/init.d ;;
esac
# Prefix of an existing installation, if there is one.
installed_prefix() {
    case $init in
        systemd) sed -n 's,^ExecStart=\(/.*\)/bin/uptimemesh .*,\1,p' "$unit_dir/uptimemesh.service" ;;
        openrc) sed -n 's,^command="\(/.*\)/bin/uptimemesh"$,\1,p' "$unit_dir/uptimemesh" ;;
    esac 2>/dev/null | head -n 1
}
before=$(installed_prefix)
if [ -n "$prefix" ] && [ -n "$before" ] && [ "$prefix" != "$before" ]; then
    fail "UptimeMesh is installed below $before: omit --prefix, or uninstall first (install.sh uninstall keeps data and settings)"
fi
[ -n "$prefix" ] || prefix=${before:-/usr/local}
bin_dir=$root$prefix/bin
program=$bin_dir/$PROGRAM
share=$root$prefix/share
man_page=$share/man/man1/uptimemesh.1
bash_completion=$share/bash-completion/completions/uptimemesh
zsh_completion=$share/zsh/site-functions/_uptimemesh
fish_completion=$share/fish/vendor_completions.d/uptimemesh.fish
port_dropin=$root/etc/systemd/system/uptimemesh.service.d/port.conf
port_conf=$root/etc/conf.d/uptimemesh

# The value of a setting in the configuration file, as the program reads it.
setting() {
    if [ -f "$env_file" ]; then "$work/$PROGRAM" config get "$1" --file "$env_file"; fi
}

# ---- services

units() {
    case $init in
        systemd) echo "uptimemesh.service uptimemesh-agent.service $(workers) uptimemesh-recover.service uptimemesh-update.path uptimemesh-update.service" ;;
        openrc) echo "uptimemesh uptimemesh-agent $(workers) uptimemesh-update" ;;
    esac
}

# What runs the work of this machine, in the order of stopping it.
workers() {
    case $init in
        systemd) echo "uptimemesh-work.service uptimemesh-runner.service" ;;
        openrc) echo "uptimemesh-work uptimemesh-runner" ;;
    esac
}

# Units that run on a machine with this role, the service itself first.
wanted() {
    case $init in
        systemd) echo "$1.service uptimemesh-update.path $(workers)" ;;
        openrc) echo "$1 uptimemesh-update $(workers)" ;;
    esac
}

enable() {
    case $init in
        systemd) systemctl ${root:+--root="$root"} enable --quiet "$1" ;;
        openrc)
            if [ -n "$root" ]; then
                mkdir -p "$root/etc/runlevels/default" && ln -sf "/etc/init.d/$1" "$root/etc/runlevels/default/$1"
            else
                rc-update -q add "$1" default
            fi
            ;;
    esac
}

restart() {
    case $init in
        systemd) systemctl restart "$1" ;;
        openrc) rc-service "$1" restart ;;
    esac
}

begin() {
    case $init in
        systemd) systemctl start "$1" ;;
        openrc) rc-service "$1" start ;;
    esac
}

is_running() {
    case $init in
        systemd) systemctl is-active --quiet "$1" ;;
        openrc) rc-service -q "$1" status >/dev/null 2>&1 ;;
    esac
}

is_enabled() {
    case $init in
        systemd) systemctl ${root:+--root="$root"} is-enabled --quiet "$1" 2>/dev/null ;;
        openrc) [ -e "$root/etc/runlevels/default/$1" ] ;;
    esac
}

disable() {
    case $init in
        systemd) systemctl ${root:+--root="$root"} disable --quiet "$1" 2>/dev/null || true ;;
        openrc) if [ -n "$root" ]; then rm -f "$root/etc/runlevels/default/$1"; else rc-update -q del "$1" default 2>/dev/null || true; fi ;;
    esac
}

stop() {
    case $init in
        systemd) systemctl stop "$1" 2>/dev/null || true ;;
        openrc) rc-service -q "$1" stop 2>/dev/null || true ;;
    esac
}

reload_units() {
    if [ "$init" = systemd ] && [ -z "$root" ]; then step "reload systemd's units" systemctl daemon-reload; fi
}

# Where to look when a service does not do what it should.
hint() {
    case $init in
        systemd) echo "see: journalctl -u $1 -e, and $log_dir/app.log" ;;
        openrc) echo "see: $log_dir/app.log, $log_dir/$1.err and $root/var/log/uptimemesh-runner.err" ;;
    esac
}

# ---- uninstalling

# Checks that everything to remove can be removed, and that directories to remove recursively are ours.
check_removal() {
    for place in "$bin_dir" "$share" "$state" "$etc" "${rotation%/*}" "$unit_dir"; do
        dir=$(nearest_directory "$place")
        if [ ! -w "$dir" ] || is_read_only "$dir"; then fault "$dir cannot be written, so nothing can be removed from it"; fi
    done
    if [ "$purge" = yes ]; then
        check_account
        check_directory "$state" app.db identities uptimemesh.lock
        check_directory "$log_dir" app.log
        check_roots_directory "$runner_dir"
    fi
    end_at_faults 1 "Nothing was changed on this machine."
}

uninstall() {
    check_removal
    [ -e "$program" ] || [ -e "$env_file" ] || [ -e "$state" ] || say "nothing is installed"
    for unit in $(units); do
        [ -e "$unit_dir/$unit" ] || continue
        if [ -z "$root" ]; then step "stop $unit" stop "$unit"; fi
        step "disable $unit" disable "$unit"
    done
    for unit in $(units); do
        [ ! -e "$unit_dir/$unit" ] || step "remove $unit_dir/$unit" rm -f "$unit_dir/$unit"
    done
    # Keep the directory if an operator has added other files.
    dropins=${port_dropin%/*}
    if is_ours "$port_dropin" && [ "$(ls -A "$dropins")" = port.conf ]; then
        step "remove $dropins" rm -r "$dropins"
    fi
    for file in "$port_dropin" "$port_conf"; do
        if [ "$dry_run" = yes ] && [ "${file%/*}" = "$dropins" ] && [ "$(ls -A "$dropins" 2>/dev/null)" = port.conf ]; then continue; fi
        if is_ours "$file"; then step "remove $file" rm -f "$file"; fi
    done
    for file in "$rotation" "$man_page" "$bash_completion" "$zsh_completion" "$fish_completion" \
        "$program" "$program.previous" "$program.new"; do
        [ ! -e "$file" ] || step "remove $file" rm -f "$file"
    done
    reload_units
    if [ "$purge" = no ]; then
        say "kept: data in $state and $runner_dir, configuration in $etc, log in $log_dir; to remove them: install.sh uninstall --purge"
        return 0
    fi
    for dir in "$state" "$runner_dir" "$updates" "$log_dir" "$etc" "$root/var/log/uptimemesh-runner.err"; do
        [ ! -e "$dir" ] || step "remove $dir and everything in it" rm -rf "$dir"
    done
    for account in "$ACCOUNT" "$WORK_ACCOUNT"; do
        if [ -z "$root" ] && id "$account" >/dev/null 2>&1; then step "remove the user $account" remove_account "$account"; fi
    done
}

# True if this script wrote a file that grants a port: an operator may have one of the same name.
is_ours() { [ -f "$1" ] && head -n 1 "$1" | grep -q '^# Port [0-9]* is below 1024\.$'; }

# remove_account NAME
remove_account() {
    if have userdel; then userdel "$1"; else deluser "$1"; fi
    # The group goes with the user on most systems.
    if grep -q "^$1:" /etc/group; then
        if have groupdel; then groupdel "$1"; else delgroup "$1"; fi
    fi
}

# ---- the program

work=''
clean() {
    if [ -n "$work" ]; then rm -rf "$work"; fi
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# fetch URL FILE BYTES_MAX; three tries, each from the beginning.
fetch() {
    case $1 in
        https://* | http://*) ;;
        *) fail "$1 is not an http or https URL" ;;
    esac
    # A response may have no length, or a wrong one: then only this limit holds.
    blocks=$(($3 / 512 + 2))
    try=1
    while :; do
        rm -f "$2"
        if have curl; then
            ! (ulimit -f "$blocks" && exec curl -fsSL --max-time 600 --connect-timeout 20 --max-filesize "$3" -o "$2" "$1") || break
        elif have wget; then
            # Some versions of wget have no time limits.
            ! (ulimit -f "$blocks" && exec timeout 600 wget -q -O "$2" "$1") || break
        else
            fail "fetching needs curl or wget: install one of them, or give the program with --bin"
        fi
        [ "$try" -lt 3 ] || fail "could not fetch $1 in three tries"
        say "fetching failed; retrying in $((try * 2)) s"
        sleep $((try * 2))
        try=$((try + 1))
    done
    [ "$(wc -c <"$2")" -le "$3" ] || fail "$1 is larger than $3 bytes, so it is not a release"
}

# The strings of a JSON object, one per line: path, tab, string. Used only after the signature was verified.
flat() {
    tr '\n\r\t' '   ' <"$1" | awk '
        { text = text $0 }
        END {
            depth = 0; at = 1; want = "key"; size = length(text)
            while (at <= size) {
                c = substr(text, at, 1)
                if (c == "{") { depth++; want = "key" }
                else if (c == "}") { depth--; want = "key" }
                else if (c == ",") want = "key"
                else if (c == ":") want = "value"
                else if (c == "\"") {
                    word = ""; at++
                    while (at <= size && (c = substr(text, at, 1)) != "\"") {
                        if (c == "\\") { at++; c = substr(text, at, 1); if (c != "/" && c != "\"" && c != "\\") exit 1 }
                        word = word c; at++
                    }
                    if (want == "key") name[depth] = word
                    else { path = name[1]; for (i = 2; i <= depth; i++) path = path "/" name[i]; print path "\t" word }
                }
                at++
            }
        }'
}

value() { awk -F '\t' -v path="$1" '$1 == path { print $2; exit }' "$work/manifest"; }

# is_moment: true if a text is a time in the form of a manifest. is_over: true if it has passed by this machine's clock.
is_moment() { case $1 in [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z) ;; *) return 1 ;; esac }
is_over() { awk -v a="$1" -v b="$(date -u '+%Y-%m-%dT%H:%M:%SZ')" 'BEGIN { exit a "" < b "" ? 0 : 1 }'; }

# Fetches the program that version.json names and sets $bin to it, after verifying signature and checksum.
fetch_program() {
    say "fetching $VERSION_URL and its signature"
    fetch "$VERSION_URL" "$work/version.json" "$MANIFEST_BYTES_MAX"
    plain_url=${VERSION_URL%%[?#]*}
    fetch "$plain_url.sig" "$work/version.json.sig" 1024
    if [ -n "$release_key" ]; then cp "$release_key" "$work/release.pub"; else printf '%s\n' "$RELEASE_KEY" >"$work/release.pub"; fi
    openssl base64 -d -A -in "$work/version.json.sig" -out "$work/signature" 2>/dev/null ||
        tr -d '\n' <"$work/version.json.sig" | openssl base64 -d -A >"$work/signature"
    if ! openssl pkeyutl -verify -pubin -inkey "$work/release.pub" -rawin -in "$work/version.json" -sigfile "$work/signature" \
        >"$work/verdict" 2>&1; then
        case $(openssl version) in
            "OpenSSL 3"* | "OpenSSL 4"*) ;;
            *) fail "$(openssl version) cannot verify Ed25519 signatures: install OpenSSL 3, or fetch the program elsewhere and give it with --bin" ;;
        esac
        fail "the signature of $VERSION_URL was not made with the release key: the file may have been changed. Nothing was installed." \
            "If you build your own releases, give their public key with --release-key."
    fi
    say "the signature is valid"
    flat "$work/version.json" >"$work/manifest" || fail "$VERSION_URL is not a readable manifest"
    # An old release is genuine, but may have vulnerabilities that are known by now.
    if [ "$allow_expired" = no ]; then
        expires=$(value expires)
        is_moment "$expires" ||
            fail "$VERSION_URL has no expiry date, so it may be an old one: --allow-expired accepts it anyway. Nothing was installed."
        ! is_over "$expires" ||
            fail "$VERSION_URL expired at $expires, and this machine's clock says $(date -u '+%Y-%m-%dT%H:%M:%SZ')." \
                "Get a newer release, or set the clock; --allow-expired accepts it anyway. Nothing was installed."
    fi
    [ "$(value "channels/$channel/agent/name")" = "$PROGRAM" ] || fail "$VERSION_URL has no channel $channel"
    url=$(value "channels/$channel/agent/artifacts/$arch/url")
    sum=$(value "channels/$channel/agent/artifacts/$arch/sha256")
    [ -n "$url$sum" ] || fail "$VERSION_URL has no program for $arch in its channel $channel"
    case $url in
        *://*) ;;
        /*) url=$(printf '%s' "$VERSION_URL" | sed 's,^\([a-z]*://[^/]*\).*,\1,')$url ;;
        *) url=${plain_url%/*}/$url ;;
    esac
    say "fetching UptimeMesh $(value "channels/$channel/agent/version") for $arch: $url"
    fetch "$url" "$work/$PROGRAM" "$PROGRAM_BYTES_MAX"
    [ "$(openssl dgst -sha256 -r "$work/$PROGRAM" | cut -d ' ' -f 1)" = "$sum" ] ||
        fail "the program's SHA-256 is not the signed one: the download is incomplete or was changed. Nothing was installed."
    say "its SHA-256 matches the signed one"
    bin=$work/$PROGRAM
    fetched=yes
}

# older A B: true if version A comes before B; a pre-release comes before its release.
older() {
    awk -v a="$1" -v b="$2" 'BEGIN {
        split(a, x, /[.-]/); split(b, y, /[.-]/)
        for (i = 1; i <= 3; i++) if (x[i] + 0 != y[i] + 0) exit x[i] + 0 < y[i] + 0 ? 0 : 1
        exit a ~ /-/ && b !~ /-/ ? 0 : 1
    }'
}

# put TEXT-FILE PLACE MODE: replaces PLACE atomically if the content differs.
put() {
    if [ -f "$2" ] && cmp -s "$1" "$2"; then
        return 0
    fi
    changed=yes
    step "write $2" put_now "$1" "$2" "$3"
}

put_now() {
    mkdir -p "${2%/*}"
    cp "$1" "$2.new"
    chmod "$3" "$2.new"
    mv -f "$2.new" "$2"
}

# Identifies the new program, and refuses a fetched one that is older than the installed one.
identify_program() {
    chmod 0755 "$work/$PROGRAM"
    said=$("$work/$PROGRAM" version 2>&1) ||
        fail "the program does not run on this machine: $said" "If ${TMPDIR:-/tmp} is mounted noexec, set TMPDIR to another directory."
    case $said in
        "uptimemesh "*) ;;
        *) fail "--bin $bin is not UptimeMesh: its version command printed $said" ;;
    esac
    before=$("$program" version 2>/dev/null) || before=''
    # A genuine but old release must not cause a downgrade.
    if [ "$fetched" = yes ] && [ -n "$before" ] && older "${said#* }" "${before#* }"; then
        fail "$before is installed, and the release has $said, which is older. To downgrade anyway, give the program with --bin."
    fi
}

install_program() {
    if [ -f "$program" ] && cmp -s "$work/$PROGRAM" "$program"; then
        say "$said is already installed"
        return 0
    fi
    changed=yes
    if [ -f "$program" ]; then
        step "keep the previous program as $program.previous" keep_previous
    fi
    step "install $said as $program" put_now "$work/$PROGRAM" "$program" 0755
}

# A running update and this script would overwrite each other's files. The journal of an interrupted update would be undone
# at the next start, and what is installed here with it.
hold_updates() {
    if [ "$dry_run" = yes ] || [ -n "$root" ]; then return 0; fi
    if have flock; then
        exec 9>"$updates/lock"
        flock -n 9 || fail "an update of this machine is running (uptimemesh update status): run this again when it has finished"
    fi
}

end_updates() {
    [ ! -e "$updates/journal" ] || step "discard the interrupted update" rm -f "$updates/journal"
    # Services must not inherit it.
    exec 9>&-
}

keep_previous() {
    cp -p "$program" "$program.previous.new"
    mv -f "$program.previous.new" "$program.previous"
}

# ---- account, directories, configuration

# make_account NAME HOME
make_account() {
    if have useradd; then
        groupadd --system "$1" 2>/dev/null || grep -q "^$1:" /etc/group
        useradd --system --gid "$1" --home-dir "$2" --no-create-home --shell "$(nologin)" "$1"
    elif have adduser; then
        # busybox
        addgroup -S "$1" 2>/dev/null || grep -q "^$1:" /etc/group
        adduser -S -D -H -h "$2" -s "$(nologin)" -G "$1" "$1"
    else
        fail "neither useradd nor adduser is installed: create the user $1 and a group of the same name, then run this again"
    fi
}

nologin() {
    for shell in /usr/sbin/nologin /sbin/nologin /bin/false; do
        if [ -x "$shell" ]; then
            echo "$shell"
            return 0
        fi
    done
    echo /bin/false
}

# directory PATH MODE OWNER
directory() {
    if [ ! -d "$1" ]; then
        step "create $1" make_directory "$@"
    elif [ "$(stat -c '%a' "$1")" != "$2" ] || { [ -z "$root" ] && [ "$(stat -c '%U:%G' "$1")" != "$3" ]; }; then
        step "give $1 to $3, with mode $2" make_directory "$@"
    fi
}

make_directory() {
    mkdir -p "$1"
    chmod "$2" "$1"
    [ -n "$root" ] || chown "$3" "$1"
}

configure() {
    if [ ! -e "$policy" ]; then
        "$work/$PROGRAM" unit runner.conf >"$work/file"
        put "$work/file" "$policy" 0644
    fi
    [ -z "$release_key" ] || put "$release_key" "$etc/release-key.pub" 0644
    if [ -f "$env_file" ]; then
        say "keeping the configuration in $env_file"
        # The services read it themselves.
        if [ -z "$root" ]; then
            case $(stat -c '%G %a' "$env_file") in
                "$ACCOUNT "?[4-7]? | "$ACCOUNT "?[4-7]??) ;;
                *) step "let the services read $env_file" share_settings ;;
            esac
        fi
        for pair in "UPTIMEMESH_NODE_ID $given_id" "SERVER_HOST $host" "SERVER_PORT $port" "VERSION_URL $VERSION_URL"; do
            wish=${pair#* }
            [ -z "$wish" ] || [ "$(setting "${pair%% *}")" = "$wish" ] || say "note: ${pair%% *} was not changed to $wish; edit $env_file"
        done
        return 0
    fi
    "$work/$PROGRAM" unit uptimemesh.env >"$work/env"
    {
        echo "UPTIMEMESH_NODE_ID=$node_id"
        if [ -n "$host" ]; then echo "SERVER_HOST=$host"; fi
        if [ -n "$port" ]; then echo "SERVER_PORT=$port"; fi
        # Updates come from the same place as the program and are verified with the same key.
        if [ -n "$VERSION_URL" ]; then echo "VERSION_URL=$VERSION_URL"; fi
        if [ -n "$release_key" ]; then echo "RELEASE_KEY_FILE=/etc/uptimemesh/release-key.pub"; fi
    } >>"$work/env"
    put "$work/env" "$env_file" 0640
    [ "$dry_run" = yes ] || [ -n "$root" ] || share_settings
}

share_settings() {
    chgrp "$ACCOUNT" "$env_file"
    chmod g+r "$env_file"
}

# Grants the capability that a port below 1024 needs, and only then.
allow_port() {
    chosen=$(setting SERVER_PORT)
    chosen=${chosen:-${port:-8000}}
    case $init in
        systemd) file=$port_dropin ;;
        openrc) file=$port_conf ;;
    esac
    case $chosen in *[!0-9]*) return 0 ;; esac
    if [ "$chosen" -ge 1024 ] || [ "$chosen" -eq 0 ]; then
        if is_ours "$file"; then
            changed=yes
            step "remove $file: port $chosen needs no capability" rm -f "$file"
        fi
        return 0
    fi
    if [ "$init" = systemd ]; then
        printf '%s\n' "# Port $chosen is below 1024." "[Service]" "CapabilityBoundingSet=CAP_NET_BIND_SERVICE" \
            "AmbientCapabilities=CAP_NET_BIND_SERVICE" >"$work/port"
    else
        printf '%s\n' "# Port $chosen is below 1024." 'capabilities="^cap_net_bind_service"' >"$work/port"
    fi
    if [ -e "$file" ] && ! is_ours "$file"; then
        say "note: kept $file, which this script did not write; for port $chosen it needs: $(tail -n 1 "$work/port")"
        return 0
    fi
    put "$work/port" "$file" 0644
}

install_files() {
    mode=0644
    [ "$init" = systemd ] || mode=0755
    for unit in $(units); do
        "$work/$PROGRAM" unit "$unit" | sed "s,/usr/local/bin,$prefix/bin,g" >"$work/file"
        put "$work/file" "$unit_dir/$unit" "$mode"
    done
    "$work/$PROGRAM" unit uptimemesh.logrotate >"$work/file"
    put "$work/file" "$rotation" 0644
    have logrotate || [ -n "$root" ] || say "note: logrotate is not installed, so the log will grow ($(install_hint logrotate))"
    # A change in files for people does not require a restart.
    kept=$changed
    "$work/$PROGRAM" man >"$work/file"
    put "$work/file" "$man_page" 0644
    "$work/$PROGRAM" completions bash >"$work/file"
    put "$work/file" "$bash_completion" 0644
    "$work/$PROGRAM" completions zsh >"$work/file"
    put "$work/file" "$zsh_completion" 0644
    "$work/$PROGRAM" completions fish >"$work/file"
    put "$work/file" "$fish_completion" 0644
    changed=$kept
}

# Runs a command line as the unprivileged user. No word may contain a shell metacharacter.
as_account() {
    if have timeout; then (cd / && DATA_DIR=$state timeout -s KILL 60 su -s /bin/sh "$ACCOUNT" -c "exec $*" 9>&-)
    else (cd / && DATA_DIR=$state su -s /bin/sh "$ACCOUNT" -c "$*" 9>&-); fi
}

# ---- which cluster this machine belongs to

# Nodes that this machine has joined as, if any.
enrolled() {
    for key in "$state"/identities/*/lease.token; do
        [ -f "$key" ] || continue
        key=${key%/lease.token}
        echo "${key##*/}"
    done
}

refuse_another_cluster() {
    [ ! -e "$root/usr/bin/$PROGRAM" ] ||
        fail "this machine has UptimeMesh from a package, and two installations would conflict." \
            "Use the package (systemctl enable --now uptimemesh), or remove it first; its data stays."
    if [ "$action" = first ]; then
        if [ ! -e "$state/app.db" ] && [ -n "$(enrolled)" ]; then
            fail "this machine is the node $(enrolled | head -n 1) of another cluster ($state/identities)." \
                "To create a new cluster, leave that one first: install.sh uninstall --purge"
        fi
        return 0
    fi
    if [ -e "$state/app.db" ]; then
        fail "this machine is the control plane of a cluster ($state/app.db) and one of its nodes." \
            "To join another cluster, back this one up and remove it first: install.sh uninstall --purge"
    fi
    before=$(enrolled | head -n 1)
    if [ -n "$before" ] && [ "$before" != "$node_id" ]; then
        fail "this machine has already joined as $before ($state/identities)." \
            "To join as $node_id, leave first: install.sh uninstall --purge. To upgrade it: --node-id $before"
    fi
    if [ -z "$before" ]; then
        [ -n "$join_file" ] || fail "join needs --join-file FILE, with a join string: uptimemesh token create --role worker --join-string"
        return 0
    fi
    [ -n "$join_file" ] || return 0
    # A join string of another cluster pins another authority than the one this node trusts.
    pinned=$(cut -d : -f 3 <"$work/join")
    # The services' user owns the identity's files and could put a pipe there.
    if is_id "$before" && have openssl && as_account "head -c 65536 $state/identities/$before/ca.crt" >"$work/ca.pem" 2>/dev/null &&
        openssl x509 -in "$work/ca.pem" -outform DER -out "$work/ca" 2>/dev/null &&
        [ "$(openssl dgst -sha256 -r "$work/ca" | cut -d ' ' -f 1)" != "$pinned" ]; then
        fail "this machine is the node $before of a cluster other than the join string's, or its authority was replaced since." \
            "To join the other one, leave first: install.sh uninstall --purge. Otherwise omit --join-file."
    fi
}

join_cluster() {
    if [ -n "$(enrolled)" ]; then
        say "this machine has already joined as $(enrolled | head -n 1); keeping its identity"
        return 0
    fi
    step "join the cluster as $node_id" join_now
}

join_now() {
    as_account "$program join --join-file - --node-id $node_id" <"$work/join" >"$work/joined" ||
        fail "the machine did not join; see above. Nothing was started; you can run this again."
    # The runner is root's, and believes no other user about who the authority is: the join string says so.
    as_account "head -c 65536 $state/identities/$node_id/ca.crt" >"$work/ca.pem" || rm -f "$work/ca.pem"
    "$program" runner trust --node-id "$node_id" --authority "$work/ca.pem" --fingerprint "$(cut -d : -f 3 <"$work/join")" >"$work/joined" ||
        fail "the runner's trust in the cluster was not written; see above. Nothing was started; uninstall --purge, then join again."
}

# ---- starting

# Checks the health of the control plane on this machine.
healthy() {
    case ${chosen_host:=$(setting SERVER_HOST)} in
        '' | 0.0.0.0 | '::' | '[::]') at=127.0.0.1 ;;
        *:*) at="[$chosen_host]" ;;
        *) at=$chosen_host ;;
    esac
    chosen_port=$(setting SERVER_PORT)
    case $at in 127.* | localhost) scheme=http ;; *) scheme=https ;; esac
    [ "$(setting TLS)" != off ] || scheme=http
    address=$scheme://$at:${chosen_port:-8000}
    if have curl; then
        curl -fsk --max-time 5 "$address/health" >"$work/health" 2>&1
    elif have wget; then
        timeout 5 wget -q --no-check-certificate -O "$work/health" "$address/health" 2>/dev/null
    else
        # Without a client, started is all that can be known; systemd waits until the program reports that it is ready.
        is_running "$service"
    fi
}

beats() { as_account "$program heartbeat --node-id $node_id" >"$work/health" 2>&1; }

# wait_until COMMAND
wait_until() {
    waited=0
    until "$@"; do
        if [ "$waited" -ge "$HEALTHY_WITHIN_S" ]; then return 1; fi
        sleep 1
        waited=$((waited + 1))
    done
}

# Tries twice: a heartbeat signed in the same second as one of the agent's is refused as a replay.
try_twice() { "$@" || { sleep 2 && "$@"; }; }

start_service() {
    case $action in
        first) role=uptimemesh other=uptimemesh-agent well=healthy ;;
        join) role=uptimemesh-agent other=uptimemesh well=beats ;;
    esac
    for unit in $(wanted "$role"); do
        step "enable $unit" enable "$unit"
    done
    other=$(wanted "$other" | cut -d ' ' -f 1)
    if is_enabled "$other"; then step "disable $other" disable "$other"; fi
    if [ -n "$root" ] || [ "$start" = no ]; then
        say "nothing was started"
        return 0
    fi
    service=$(wanted "$role" | cut -d ' ' -f 1)
    watcher=$(wanted "$role" | cut -d ' ' -f 2)
    # It is there before the agent looks for it. A restart of the work would end it.
    workers="$(workers)"
    runner=${workers#* }
    if [ "$changed" = no ] && is_running "$runner"; then
        say "$runner is running, and nothing has changed"
    else
        step "start $runner" restart "$runner" || fail "$runner did not start; $(hint "$role")"
    fi
    step "start ${workers%% *}" begin "${workers%% *}" || fail "${workers%% *} did not start"
    # A configuration changed since the start may name another port.
    if [ "$changed" = no ] && is_running "$service" && try_twice "$well"; then
        say "$service is running, and nothing has changed"
    else
        step "start $service" restart "$service" || fail "$service did not start; $(hint "$role")"
    fi
    step "start $watcher" restart "$watcher" || fail "$watcher did not start; $(hint "$watcher")"
    [ "$dry_run" = no ] || return 0
    say "waiting until $service is healthy"
    wait_until "$well" || {
        cat "$work/health" >&2 2>/dev/null || true
        fail "$service is running but not healthy after $HEALTHY_WITHIN_S s; $(hint "$role")"
    }
}

print_summary() {
    [ "$dry_run" = no ] && [ -z "$root" ] && [ "$start" = yes ] || return 0
    if [ "$action" = join ]; then
        say "done: $node_id is a live node of its cluster"
        return 0
    fi
    say "done: the control plane is healthy, and this machine is its node $(setting UPTIMEMESH_NODE_ID)"
    say "  UI        $address/ui"
    say "  sign in   admin / uptime, and change that password at once: uptimemesh set-password --new-password-file FILE"
    [ ! -f "$state/keys/setup-code" ] || say "  setup     signing in from another machine needs the setup code in $state/keys/setup-code"
    say "  add nodes uptimemesh token create --role worker --join-string > join; then there: install.sh join --join-file join"
    [ "$address" = http://127.0.0.1:8000 ] || say "  commands  need --api-url $address, or UPTIMEMESH_API_URL=$address"
}

# ---- checks, before anything is changed

# An existing user or group of this name may belong to a person or an administrator.
check_account() {
    [ -z "$root" ] || return 0
    line=$(grep "^$ACCOUNT:" /etc/passwd) || line=''
    if [ -n "$line" ]; then
        home=$(printf '%s\n' "$line" | cut -d : -f 6) shell=$(printf '%s\n' "$line" | cut -d : -f 7)
        [ "$(id -u "$ACCOUNT")" != 0 ] || fault "the user $ACCOUNT is root by another name: rename it"
        case $home:${shell##*/} in
            /var/lib/uptimemesh:* | *:nologin | *:false) ;;
            *) fault "a user $ACCOUNT exists with the shell $shell and the home $home, so it is not the services' account: rename it" ;;
        esac
        grep -q "^$ACCOUNT:" /etc/group || fault "the user $ACCOUNT exists and the group $ACCOUNT does not: create it (groupadd --system $ACCOUNT)"
    elif grep -q "^$ACCOUNT:.*:..*" /etc/group; then
        fault "a group $ACCOUNT exists and has members: rename it"
    fi
}

# check_directory PATH FILE...: it must be empty, belong to the services' user, or contain one of these files of ours.
check_directory() {
    where=$1
    shift
    [ -e "$where" ] || [ -L "$where" ] || return 0
    if [ ! -d "$where" ]; then
        fault "$where exists but is not a directory: move it away"
        return 0
    fi
    [ -n "$(ls -A "$where")" ] || return 0
    [ "$(stat -L -c %U "$where")" != "$ACCOUNT" ] || return 0
    for file in "$@"; do [ ! -e "$where/$file" ] || return 0; done
    fault "$where exists, contains files that are not UptimeMesh's, and belongs to $(stat -L -c %U "$where"): move it away, or if UptimeMesh may use it, chown $ACCOUNT: $where"
}

# Root runs or serves files from this directory, so only root may own it.
check_roots_directory() {
    [ -e "$1" ] || [ -L "$1" ] || return 0
    if [ ! -d "$1" ]; then
        fault "$1 exists but is not a directory: move it away"
    elif [ -z "$root" ] && [ "$(stat -L -c %u "$1")" != 0 ]; then
        fault "$1 exists and belongs to $(stat -L -c %U "$1"), not to root: check what is in it, then chown -R root: $1"
    fi
}

# check_file PATH: an existing file must be ours.
check_file() {
    [ -e "$1" ] || [ -L "$1" ] || return 0
    if [ ! -f "$1" ]; then
        fault "$1 exists but is not a regular file: move it away"
    elif ! grep -qi uptimemesh "$1"; then
        fault "$1 exists but is not UptimeMesh's: move it away"
    fi
}

check_files() {
    for unit in $(units); do check_file "$unit_dir/$unit"; done
    check_file "$rotation"
    for file in "$man_page" "$bash_completion" "$zsh_completion" "$fish_completion"; do check_file "$file"; done
    if [ -e "$env_file" ] || [ -L "$env_file" ]; then
        if [ ! -f "$env_file" ]; then
            fault "$env_file exists but is not a regular file: move it away"
        elif ! lines=$("$work/$PROGRAM" config get DATA_DIR --file "$env_file" 2>&1); then
            # Each line is a separate fault.
            while IFS= read -r line; do fault "${line#error: }"; done <<LINES
$lines
LINES
        fi
    fi
    # Replace a broken program of ours, but not another program of this name.
    if [ -e "$program" ] && [ ! -e "$unit_dir/$(units | cut -d ' ' -f 1)" ]; then
        case $("$program" version 2>/dev/null </dev/null) in
            "uptimemesh "*) ;;
            *) fault "$program exists but is not UptimeMesh: move it away, or give --prefix DIR" ;;
        esac
    fi
}

# The nearest existing directory above a path.
nearest_directory() {
    at=$1
    while [ ! -d "$at" ] && [ -n "$at" ]; do at=${at%/*}; done
    echo "${at:-/}"
}

# Checks free space and write access for every place: kilobytes, and the directory.
check_places() {
    program_kb=$(($(wc -c <"$work/$PROGRAM") / 1024 + 1))
    if cmp -s "$work/$PROGRAM" "$program"; then program_kb=0; fi
    data_kb=1024
    [ "$action" = join ] || [ -e "$state/app.db" ] || data_kb=16384
    for place in "$program_kb $bin_dir" "512 $share" "$data_kb $state" "512 $updates" "1024 $runner_dir" "1024 $log_dir" "64 $etc" "64 ${rotation%/*}" "64 $unit_dir"; do
        dir=$(nearest_directory "${place#* }")
        # Root may write anywhere except on a read-only file system.
        if [ ! -w "$dir" ] || is_read_only "$dir"; then
            hint=''
            case ${place#* } in "$bin_dir" | "$share") hint=': choose another place with --prefix DIR' ;; esac
            fault "$dir is not writable, and ${place#* } belongs there$hint"
            continue
        fi
        echo "$(df -Pk "$dir" | awk 'NR == 2 { print $4, $6 }') ${place%% *}"
    done >"$work/room"
    # Places on one disk share its free space.
    lacking=$(awk '{ room[$2] = $1; want[$2] += $3 } END { for (at in room) if (room[at] ~ /^[0-9]+$/ && room[at] < want[at])
        print at " has " room[at] " kB free, and " want[at] " kB are needed" }' "$work/room")
    [ -z "$lacking" ] || fault "$lacking"
}

# True if a directory is mounted read-only, which `test -w` does not show to root in every shell.
is_read_only() {
    [ -r /proc/self/mounts ] || return 1
    at=$(cd "$1" && pwd -P) || return 1
    awk -v at="$at/" '
        { mount = $2 == "/" ? "/" : $2 "/" }
        index(at, mount) == 1 && length(mount) >= most { most = length(mount); options = $4 }
        END { exit ("," options ",") ~ /,ro,/ ? 0 : 1 }' /proc/self/mounts
}

# Checks that no other program listens on the control plane's port.
check_port() {
    if [ "$action" != first ] || [ -n "$root" ] || [ "$start" = no ] || is_running "$(wanted uptimemesh | cut -d ' ' -f 1)"; then return 0; fi
    at_port=$(setting SERVER_PORT) at_host=$(setting SERVER_HOST)
    at_port=${at_port:-${port:-8000}} at_host=${at_host:-$host}
    case $at_port in *[!0-9]* | 0) return 0 ;; esac
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port="$(printf '%04X' "$at_port")" -v host="$at_host" '
        BEGIN { if (split(host, part, ".") == 4) here = sprintf("%02X%02X%02X%02X", part[4], part[3], part[2], part[1]) }
        $4 == "0A" && split($2, at, ":") == 2 && at[2] == port {
            everywhere = at[1] ~ /^0+$/
            if (everywhere || here == "" || here == "00000000" || at[1] == here) found = 1
        }
        END { exit !found }' || return 0
    fault "another program listens on port $at_port: stop it, or choose another port with --port, or in $env_file if that exists"
}

# ---- main

if [ "$action" = uninstall ]; then
    uninstall
    exit 0
fi

umask 022
changed=no
work=$(mktemp -d "${TMPDIR:-/tmp}/uptimemesh-install.XXXXXX") || fail "could not create a temporary directory: set TMPDIR to a writable one"
if [ "$action" = join ] && [ -n "$join_file" ]; then
    # Private: it is a secret until it is used.
    (umask 077 && cat -- "$( [ "$join_file" = - ] && echo /dev/stdin || echo "$join_file")" >"$work/join")
    case $(head -c 5 "$work/join") in
        umj1:) ;;
        *) fail "--join-file $join_file has no join string: it begins with umj1: (create one: uptimemesh token create --role worker --join-string)" ;;
    esac
fi
if [ -n "$bin" ]; then
    cp -- "$bin" "$work/$PROGRAM" || fail "could not copy the program to $work: is the disk full? TMPDIR chooses another place"
else
    fetch_program
fi
identify_program
check_files
check_account
check_directory "$state" app.db identities uptimemesh.lock
check_directory "$log_dir" app.log
check_roots_directory "$updates"
check_roots_directory "$runner_dir"
check_roots_directory "$etc"
check_places
end_at_faults 1 "Nothing was changed on this machine."
# On another run it stays the same node unless --node-id says otherwise, whatever the machine's current host name.
given_id=$node_id
[ -n "$node_id" ] || node_id=$(setting UPTIMEMESH_NODE_ID)
[ -n "$node_id" ] || [ "$(enrolled | wc -l)" -ne 1 ] || node_id=$(enrolled)
[ -n "$node_id" ] || node_id=$(hostname 2>/dev/null || cat /proc/sys/kernel/hostname)
is_id "$node_id" || fail "this machine's name, $node_id, is not a valid node id: give one with --node-id"
refuse_another_cluster
check_port
end_at_faults 1 "Nothing was changed on this machine."

if [ -z "$root" ] && ! id "$ACCOUNT" >/dev/null 2>&1; then
    step "create the user $ACCOUNT, who owns the data and runs the services" make_account "$ACCOUNT" /var/lib/uptimemesh
fi
if [ -z "$root" ] && ! id "$WORK_ACCOUNT" >/dev/null 2>&1; then
    step "create the user $WORK_ACCOUNT, who runs the replicas" make_account "$WORK_ACCOUNT" /nonexistent
fi
directory "$state" 700 "$ACCOUNT:$ACCOUNT"
directory "$log_dir" 750 "$ACCOUNT:$ACCOUNT"
directory "$updates" 755 root:root
directory "$runner_dir" 700 root:root
directory "$etc" 755 root:root
hold_updates
install_program
end_updates
configure
install_files
[ "$action" = join ] || allow_port
reload_units
if [ "$action" = join ] && [ -z "$root" ]; then join_cluster; fi
start_service
print_summary
