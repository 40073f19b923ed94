#!/bin/sh
# Fetches the newest updater of uptimemesh, verifies it, and runs it with the same arguments:
#
#   sh bootstrap.sh --version-url https://dl.example/version.json [options of node-update.sh]
#
# If it cannot be fetched, the updater beside this file is used, or the one that an earlier update left. A fetched file
# that is not genuine ends the run. Exit status: 2, 3 and 4 as in node-update.sh, else that of the updater.
set -u
VERSION=2.0.0
LC_ALL=C
export LC_ALL
umask 077

# The key that releases are signed with, unless another is named.
OWN_KEY='-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA8MIhSE9DCYdBa8GcZK+HIPph5S2/g3b/UQPrmez5efs=
-----END PUBLIC KEY-----'

MANIFEST_BYTES_MAX=65536
UPDATER_BYTES_MAX=262144
FETCH_S_MAX=300

# Removes passwords and tokens from URLs.
without_secrets() { sed 's,://[^/@ ]*@,://,g; s/\(:\/\/[^ ?]*\)[?][^ |]*/\1?.../g'; }

say() {
    case $1 in CRITICAL) mark=X ;; ERROR) mark=x ;; WARNING) mark=! ;; *) mark='*' ;; esac
    printf '%s | %-8s | update | (%s) %s | %s%s\n' "$(date -u '+%Y-%m-%d %H:%M:%S.000')" "$1" "$mark" "$2" "$3" "${4:+ | $4}" |
        without_secrets | tr -c ' -~\n' '?' | tr '\n' ' ' | cut -c 1-2000 >&2
}

end() {
    rm -rf "$work"
    exit "$1"
}

refuse() {
    say ERROR bootstrap.not_genuine "$1"
    end 4
}

# fetch URL FILE BYTES
fetch() {
    rm -f "$2"
    if command -v curl >/dev/null 2>&1; then
        (ulimit -f $(($3 / 512 + 2)) && exec curl --silent --fail --location --max-redirs 5 --connect-timeout 10 --max-time "$FETCH_S_MAX" \
            --retry 3 --max-filesize "$3" --output "$2" -- "$1")
    elif command -v wget >/dev/null 2>&1; then
        (ulimit -f $(($3 / 512 + 2)) && exec wget -q -O "$2" "$1")
    elif [ -x "$bin" ]; then
        "$bin" release fetch "$1" --out "$2" --bytes-max "$3"
    else
        return 1
    fi >/dev/null 2>&1
    [ -s "$2" ] && [ "$(wc -c <"$2")" -le "$3" ]
}

# updater_field NAME: prints a value of the updater in the manifest. Between the braces of the updater's object only plain
# strings are understood.
updater_field() {
    tr -d ' \t\r\n' <"$work/version.json" | awk -v channel="$channel" -v name="$1" '
        {
            at = index($0, "\"" channel "\":{")
            if (!at) exit 1
            rest = substr($0, at)
            at = index(rest, "\"updater\":{")
            if (!at) exit 1
            rest = substr(rest, at + 11)
            if (!match(rest, /^("[a-z0-9_]+":"[A-Za-z0-9._\/-]*",?)*}/)) exit 1
            rest = substr(rest, 1, RLENGTH - 1)
            at = index(rest, "\"" name "\":\"")
            if (!at) exit 1
            rest = substr(rest, at + length(name) + 4)
            print substr(rest, 1, index(rest, "\"") - 1)
        }'
}

# is_moment: true if a text is a time in the form of a manifest. is_over: true if it has passed by this machine's clock.
is_moment() { case $1 in [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z) ;; *) return 1 ;; esac }
is_over() { awk -v a="$1" -v b="$(date -u '+%Y-%m-%dT%H:%M:%SZ')" 'BEGIN { exit a "" < b "" ? 0 : 1 }'; }

# Prints the manifest's expiry date: a value of the outer object, without its nested objects.
expiry() {
    tr -d ' \t\r\n' <"$work/version.json" | awk '
        {
            rest = substr($0, 2, length($0) - 2)
            while (gsub(/[{][^{}]*[}]/, "", rest)) { }
            if (!match(rest, /"expires":"[^"]*"/)) exit 1
            print substr(rest, RSTART + 11, RLENGTH - 12)
        }'
}

# is_older A B: true if version A comes before B; a pre-release comes before its release.
is_older() {
    awk -v a="$1" -v b="$2" 'BEGIN {
        split(a, x, /[.-]/); split(b, y, /[.-]/)
        for (i = 1; i <= 3; i++) if (x[i] + 0 != y[i] + 0) exit x[i] + 0 < y[i] + 0 ? 0 : 1
        exit a ~ /-/ && b !~ /-/ ? 0 : 1
    }'
}

case ${1:-} in --bootstrap-version)
    echo "$VERSION"
    exit 0
    ;;
esac

# Options of the updater that this script needs too.
version_url=${VERSION_URL:-} channel=${UPDATE_CHANNEL:-stable} key_file=${RELEASE_KEY_FILE:-} bin=/usr/local/bin/uptimemesh
state_dir=/var/lib/uptimemesh-update before=
for word in "$@"; do
    case $before in
    --version-url) version_url=$word ;;
    --channel) channel=$word ;;
    --release-key) key_file=$word ;;
    --bin) bin=$word ;;
    --state-dir) state_dir=$word ;;
    esac
    before=
    case $word in
    --version-url=*) version_url=${word#*=} ;;
    --channel=*) channel=${word#*=} ;;
    --release-key=*) key_file=${word#*=} ;;
    --bin=*) bin=${word#*=} ;;
    --state-dir=*) state_dir=${word#*=} ;;
    *) before=$word ;;
    esac
done
case $version_url in http://* | https://*) ;; *)
    echo 'error: the release is missing: give --version-url URL, or set VERSION_URL' >&2
    exit 2
    ;;
esac
case $channel in '' | *[!a-z0-9-]*)
    echo 'error: --channel must be characters of a-z 0-9 -' >&2
    exit 2
    ;;
esac
if [ -n "$key_file" ] && [ ! -r "$key_file" ]; then
    echo "error: the release key $key_file cannot be read" >&2
    exit 2
fi

work=$(mktemp -d) || exit 1
trap 'end 1' INT TERM HUP
directory=${version_url%%[?#]*}
updater=
if fetch "$version_url" "$work/version.json" "$MANIFEST_BYTES_MAX" && fetch "$directory.sig" "$work/version.json.sig" 90; then
    if [ -n "$key_file" ]; then cat "$key_file"; else printf '%s\n' "$OWN_KEY"; fi >"$work/key"
    if [ -x "$bin" ] && verify_help=$("$bin" release verify --help </dev/null 2>/dev/null); then
        # Expiry is checked below, because an old program does not check it.
        case $verify_help in *--allow-expired*) too=--allow-expired ;; *) too='' ;; esac
        "$bin" release verify "$work/version.json" --release-key "$work/key" ${too:+"$too"} </dev/null >/dev/null 2>&1 ||
            refuse 'the manifest is not signed with the release key'
    else
        openssl base64 -d -A -in "$work/version.json.sig" -out "$work/raw" 2>/dev/null
        openssl pkeyutl -verify -pubin -inkey "$work/key" -rawin -in "$work/version.json" -sigfile "$work/raw" >/dev/null 2>&1 ||
            refuse 'the manifest is not signed with the release key, or openssl 3 is not installed to verify it'
    fi
    case " $* " in *' --allow-expired '*) ;; *)
        expires=$(expiry)
        is_moment "$expires" || refuse 'the manifest has no expiry date, so it may be an old one: --allow-expired accepts it anyway'
        ! is_over "$expires" ||
            refuse "the manifest expired at $expires, and this machine's clock says $(date -u '+%Y-%m-%dT%H:%M:%SZ'): get a newer release, or set the clock; --allow-expired accepts it anyway"
        ;;
    esac
    path=$(updater_field path)
    sum=$(updater_field sha256)
    if [ -z "$path" ] || [ ${#sum} -ne 64 ]; then refuse "the manifest has no updater for the channel $channel"; fi
    version=$(updater_field version)
    # An old release is genuine, but its updater may have vulnerabilities that are known by now.
    if is_older "$version" "$VERSION"; then
        case " $* " in *' --allow-downgrade '*) ;; *) refuse "the manifest has the updater $version, which is older than this bootstrap: --allow-downgrade accepts it" ;; esac
    fi
    case /$path in *//* | */.* | */-*) refuse 'the manifest has no valid location of the updater' ;; esac
    if fetch "${directory%/*}/$path" "$work/node-update.sh" "$UPDATER_BYTES_MAX"; then
        found=$(if command -v sha256sum >/dev/null 2>&1; then sha256sum; else openssl dgst -sha256 -r; fi <"$work/node-update.sh" | cut -c 1-64)
        [ "$found" = "$sum" ] || refuse "the updater has the checksum $found, not $sum"
        updater=$work/node-update.sh
    fi
fi
if [ -z "$updater" ]; then
    for updater in "$(dirname "$0")/node-update.sh" "$state_dir/node-update.sh" ''; do
        if [ -f "$updater" ]; then break; fi
    done
    if [ -z "$updater" ]; then
        say ERROR bootstrap.unreachable 'Could not fetch the updater, and none is installed here' "url: $version_url"
        end 3
    fi
    say WARNING bootstrap.local 'Could not fetch the updater; using the installed one' "updater: $updater"
fi
sh "$updater" "$@" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' INT TERM HUP
status=0
wait "$child" || status=$?
# A signal ends the wait, not the updater.
while kill -0 "$child" 2>/dev/null; do wait "$child" || status=$?; done
end "$status"
