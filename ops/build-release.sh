#!/bin/sh
# Builds a release: the static program for each architecture, checksums, bill of materials and manifest, in one directory
# for any web server. Needs rustup's toolchain and a C compiler for musl; ops/README.md lists what to install.
set -eu
umask 022

usage() {
    cat <<'TEXT'
usage: ops/build-release.sh [options]

  --out DIR         output directory (default release-files beside the build); an existing release is replaced
  --key-file FILE   sign the manifest with this private release key
  --expires-days N  nodes accept the release for N days (default 90); `uptimemesh release sign` extends it
  --target TARGET   build for this target only; repeatable (default x86_64- and aarch64-unknown-linux-musl, if possible here)
  --twice           build everything a second time in another directory, and fail unless every byte is the same
  --sums            only write the checksums of the scripts into version.json; build nothing
TEXT
}

say() { printf 'build-release: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

out='' key='' expires_days=90 targets='' twice='' sums_only=''
while [ $# -gt 0 ]; do
    case $1 in
    --out | --key-file | --expires-days | --target)
        [ $# -ge 2 ] || die "$1 needs a value"
        case $1 in
        --out) out=$2 ;;
        --key-file) key=$2 ;;
        --expires-days) expires_days=$2 ;;
        --target) targets="$targets $2" ;;
        esac
        shift
        ;;
    --twice) twice=yes ;;
    --sums) sums_only=yes ;;
    --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        die "unknown option $1"
        ;;
    esac
    shift
done

# Paths on the command line are relative to the caller's directory; all others are relative to the top of the source.
absolute() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s/%s\n' "$PWD" "$1" ;; esac }
case $expires_days in '' | *[!0-9]* | ?????*) die "--expires-days must be 1 to 3650, not $expires_days" ;; esac
if [ "$expires_days" -lt 1 ] || [ "$expires_days" -gt 3650 ]; then die "--expires-days must be 1 to 3650, not $expires_days"; fi
[ -z "$key" ] || key=$(absolute "$key")
[ -z "$key" ] || [ -r "$key" ] || die "$key cannot be read"
[ -z "$out" ] || out=$(absolute "$out")
cd "$(dirname "$0")/.."
source_dir=$(pwd -P)
[ -n "$out" ] || out=$(absolute "${CARGO_TARGET_DIR:-target}")/release-files

sum() { sha256sum "$1" | cut -c1-64; }

# said KEY: prints the first value of a key of version.json, which has one key per line.
said() { awk -F'"' -v key="$1" '$2 == key { print $4; exit }' version.json; }

# path_of SCRIPT: prints the path of a script in version.json.
path_of() { awk -F'"' -v script="$1" '$2 == script { inside = 1 } inside && $2 == "path" { print $4; exit }' version.json; }

bootstrap=$(path_of bootstrap)
updater=$(path_of updater)
version=$(said version)
if [ -z "$version" ] || [ -z "$bootstrap" ] || [ -z "$updater" ]; then
    die "version.json must name the version and the scripts, one key per line"
fi

# manifest FILE: prints version.json with the checksums of the scripts and the artifacts listed in FILE.
manifest() {
    awk -v bootstrap="$(sum "$bootstrap")" -v updater="$(sum "$updater")" -v artifacts="$1" '
        /"bootstrap": *\{/ { of = bootstrap }
        /"updater": *\{/ { of = updater }
        of != "" && /"sha256":/ { sub(/"sha256": *"[^"]*"/, "\"sha256\": \"" of "\""); of = "" }
        artifacts != "" && /"artifacts": *\{\}/ {
            print "        \"artifacts\": {"
            while ((getline line < artifacts) > 0) {
                split(line, word, " ")
                if (more) print "          },"
                more = 1
                printf "          \"%s\": {\n            \"url\": \"%s\",\n            \"sha256\": \"%s\"\n", word[1], word[2], word[3]
            }
            print "          }\n        }"
            next
        }
        { print }
    ' version.json
}

must_exist() { [ -e "$1" ] || die "$1 is missing"; }

if [ -n "$sums_only" ]; then
    must_exist "$bootstrap"
    must_exist "$updater"
    manifest '' >version.json.new
    mv version.json.new version.json
    exit 0
fi

if [ -e "$out" ] && [ ! -e "$out/SHA256SUMS" ]; then
    die "$out exists but is not a release: choose another directory"
fi

# The commit and its date: from git, from an archive made by git, or from the environment.
archived() { sed -n "s/^$1 \([0-9a-f][0-9a-f]*\)\$/\1/p" ops/commit; }
if [ -z "${UPTIMEMESH_COMMIT:-}" ] && [ -e .git ]; then
    UPTIMEMESH_COMMIT=$(git rev-parse HEAD)
    [ -z "$(git status --porcelain)" ] || {
        UPTIMEMESH_COMMIT=$UPTIMEMESH_COMMIT-changed
        say "WARNING: there are uncommitted changes: the release cannot be reproduced"
    }
    : "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
fi
: "${UPTIMEMESH_COMMIT:=$(archived commit)}" "${SOURCE_DATE_EPOCH:=$(archived date)}"
[ -n "$UPTIMEMESH_COMMIT" ] || say "WARNING: the commit is unknown: this is neither a git tree nor an archive made by git"
export UPTIMEMESH_COMMIT="${UPTIMEMESH_COMMIT:-unknown}" SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-0}"
UPTIMEMESH_RUSTC=$(rustc --version)
export UPTIMEMESH_RUSTC UPTIMEMESH_PROFILE=dist CARGO_INCREMENTAL=0

cargo_home=${CARGO_HOME:-$HOME/.cargo}
sysroot=$(rustc --print sysroot)
rust_commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
host=$(rustc -vV | sed -n 's/^host: //p')

# compiler TARGET: prints the C compiler and its flags; fails and names what is missing.
compiler() {
    arch=${1%%-*}
    headers=${MUSL_HEADERS:-/usr/include/$arch-linux-musl}
    if [ "$arch" = "${host%%-*}" ] && command -v musl-gcc >/dev/null; then
        echo musl-gcc
    elif command -v "$arch-linux-musl-gcc" >/dev/null; then
        echo "$arch-linux-musl-gcc"
    elif command -v "$arch-linux-gnu-gcc" >/dev/null && [ -d "$headers" ]; then
        # The compiler works for any C library if that library's headers come before its own.
        own=$("$arch-linux-gnu-gcc" -print-file-name=include)
        echo "$arch-linux-gnu-gcc -nostdinc -isystem $headers -isystem $own"
    else
        say "no C compiler for $1: install musl-tools (on a machine of that architecture), $arch-linux-musl-gcc, or gcc-$arch-linux-gnu and musl's headers in $headers"
        return 1
    fi
}

# ready TARGET: true if the toolchain for a target is installed, or could be installed.
ready() {
    compiler "$1" >/dev/null || return 1
    [ -d "$(rustc --print target-libdir --target "$1")" ] || rustup target add "$1" >&2 || {
        say "no Rust library for $1: rustup target add $1 failed"
        return 1
    }
}

# build SOURCE TARGET DIR: builds the source for a target below DIR. No path of this machine ends up in the program:
# neither of the source, nor of its packages, nor of Rust's library.
build() {
    (
        cd "$1"
        name=$(printf %s "$2" | tr - _)
        upper=$(printf %s "$name" | tr '[:lower:]' '[:upper:]')
        cc=$(compiler "$2")
        unit=$(printf '\037')
        flags="--remap-path-prefix=$1=/uptimemesh$unit--remap-path-prefix=$3=/uptimemesh/target$unit--remap-path-prefix=$cargo_home=/cargo"
        flags="$flags$unit--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rustc/$rust_commit"
        # Rust's own linker makes the result independent of the machine's; identical functions whose addresses are not
        # compared are merged.
        flags="$flags$unit-Clink-arg=--icf=safe$unit-Clink-arg=-z$unit-Clink-arg=pack-relative-relocs"
        # Inlining is limited below LLVM's default: the program is a quarter smaller; lists take a tenth more processor
        # time, plans of the scheduler a quarter more, writes no more.
        flags="$flags$unit-Cllvm-args=-inline-threshold=25$unit-Cllvm-args=-inlinehint-threshold=50"
        case $2 in aarch64-*)
            # Rust cannot link a position-independent static program (static-pie) for this architecture, but has its parts.
            crt=$sysroot/lib/rustlib/$2/lib/self-contained
            flags="$flags$unit-Clink-self-contained=no$unit-Clink-arg=-L$crt$unit-Clink-arg=-pie$unit-Clink-arg=--no-dynamic-linker$unit-Clink-arg=-ztext"
            for object in rcrt1.o crti.o crtbeginS.o crtendS.o crtn.o; do flags="$flags$unit-Clink-arg=$crt/$object"; done
            ;;
        esac
        export CARGO_ENCODED_RUSTFLAGS="$flags" "CARGO_TARGET_${upper}_LINKER=rust-lld"
        export "CC_$name=${cc%% *}" "CFLAGS_$name=${cc#"${cc%% *}"} -ffile-prefix-map=$1=/uptimemesh -ffile-prefix-map=$3=/uptimemesh/target -ffile-prefix-map=$cargo_home=/cargo"
        cargo build --locked --profile dist --bin uptimemesh --target "$2" --target-dir "$3"
    )
}

built=
for target in ${targets:-x86_64-unknown-linux-musl aarch64-unknown-linux-musl}; do
    if ready "$target"; then
        built="$built $target"
    elif [ -n "$targets" ]; then
        die "$target cannot be built here"
    else
        say "WARNING: LEFT OUT: $target"
    fi
done
[ -n "$built" ] || die "nothing can be built here"
for file in "$bootstrap" "$updater" ops/release-key.pub ops/CHANGELOG.md; do must_exist "$file"; done
case $built in *x86_64*) ;; *) say "WARNING: this release has no program for x86_64" ;; esac

target_dir=${CARGO_TARGET_DIR:-$source_dir/target}
for target in $built; do
    say "building $version ($UPTIMEMESH_COMMIT) for $target; this takes some minutes"
    build "$source_dir" "$target" "$target_dir"
done

if [ -n "$twice" ]; then
    again=$(mktemp -d)
    trap 'rm -rf "$again"' EXIT
    mkdir "$again/source-elsewhere"
    tar -cf - --exclude=./target --exclude=./tests/fuzz/target --exclude=./.git --exclude=./data . | tar -xf - -C "$again/source-elsewhere"
    for target in $built; do
        say "building again in another directory for $target"
        build "$again/source-elsewhere" "$target" "$again/target"
        cmp "$target_dir/$target/dist/uptimemesh" "$again/target/$target/dist/uptimemesh" || die "two builds for $target differ"
        say "two builds for $target are identical"
    done
fi

# Prints the bill of materials (CycloneDX 1.5): every package that any target is built from, with its checksum in Cargo.lock.
bill() {
    tree_targets=
    for target in $built; do tree_targets="$tree_targets --target $target"; done
    # shellcheck disable=SC2086 # words on purpose
    cargo tree --locked --edges normal,build --prefix none --format '{p}	{l}	{r}' $tree_targets |
        sed -E 's/^([^ ]+) v([^ 	]+)[^	]*/\1	\2/; s/ \(\*\)$//' | LC_ALL=C sort -u >"$new/packages"
    sqlite=$(find "$cargo_home"/registry/src/*/"$(awk -F'\t' '$1 == "libsqlite3-sys" { print $1 "-" $2 }' "$new/packages")" \
        -name sqlite3.h -exec sed -n 's/^#define SQLITE_VERSION  *"\(.*\)"$/\1/p' {} + | head -n 1)
    awk -F'\t' -v moment="$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" -v version="$version" -v commit="$UPTIMEMESH_COMMIT" \
        -v sqlite="$sqlite" -v rustc="$(rustc -vV | sed -n 's/^release: //p')" '
        function text(s) { gsub(/\\/, "\\\\", s); gsub(/"/, "\\\"", s); return "\"" s "\"" }
        function id(name, version) { return "pkg:cargo/" name "@" version }
        # Cargo.lock: pinned versions and dependencies. A name without a version is unique.
        FILENAME == "Cargo.lock" {
            if ($0 == "[[package]]") { of = ""; inside = 0 }
            else if (/^name = /) { split($0, w, "\""); name = w[2] }
            else if (/^version = / && name != "") { split($0, w, "\""); of = name "\t" w[2]; versions[name] = versions[name] == "" ? w[2] : "many" }
            else if (/^checksum = /) { split($0, w, "\""); sums[of] = w[2] }
            else if (/^dependencies = \[/) inside = 1
            else if (/^\]/) inside = 0
            else if (inside) { split($0, w, "\""); needs[of] = needs[of] w[2] "\n" }
            next
        }
        { key = $1 "\t" $2; order[++count] = key; licence[key] = $3; place[key] = $4; taken[key] = 1 }
        END {
            printf "{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n  \"metadata\": {\n"
            printf "    \"timestamp\": %s,\n    \"component\": {\"type\": \"application\", \"bom-ref\": %s, \"name\": \"uptimemesh\", \"version\": %s,\n", text(moment), text(id("uptimemesh", version)), text(version)
            printf "      \"properties\": [{\"name\": \"commit\", \"value\": %s}]}\n  },\n  \"components\": [\n", text(commit)
            printf "    {\"type\": \"library\", \"bom-ref\": \"rust-std\", \"name\": \"rust-std\", \"version\": %s, \"licenses\": [{\"expression\": \"MIT OR Apache-2.0\"}]},\n", text(rustc)
            printf "    {\"type\": \"library\", \"bom-ref\": \"sqlite\", \"name\": \"sqlite\", \"version\": %s, \"cpe\": %s}", text(sqlite), text("cpe:2.3:a:sqlite:sqlite:" sqlite ":*:*:*:*:*:*:*")
            for (i = 1; i <= count; i++) {
                key = order[i]
                split(key, p, "\t")
                if (p[1] == "uptimemesh") continue
                gsub(/\//, " OR ", licence[key])
                printf ",\n    {\"type\": \"library\", \"bom-ref\": %s, \"name\": %s, \"version\": %s, \"purl\": %s", text(id(p[1], p[2])), text(p[1]), text(p[2]), text(id(p[1], p[2]))
                if (sums[key] != "") printf ",\n      \"hashes\": [{\"alg\": \"SHA-256\", \"content\": %s}]", text(sums[key])
                if (licence[key] != "") printf ", \"licenses\": [{\"expression\": %s}]", text(licence[key])
                if (place[key] != "") printf ",\n      \"externalReferences\": [{\"type\": \"vcs\", \"url\": %s}]", text(place[key])
                printf "}"
            }
            printf "\n  ],\n  \"dependencies\": ["
            for (i = 1; i <= count; i++) {
                key = order[i]
                split(key, p, "\t")
                printf "%s\n    {\"ref\": %s, \"dependsOn\": [", (i > 1 ? "," : ""), text(id(p[1], p[2]))
                n = split(needs[key], need, "\n")
                more = p[1] == "uptimemesh" ? "\"rust-std\"" : p[1] == "libsqlite3-sys" ? "\"sqlite\"" : ""
                for (j = 1; j < n; j++) {
                    m = split(need[j], w, " ")
                    wanted = m > 1 ? w[2] : versions[w[1]]
                    if (!((w[1] "\t" wanted) in taken)) continue
                    more = more (more == "" ? "" : ", ") text(id(w[1], wanted))
                }
                printf "%s]}", more
            }
            printf "\n  ]\n}\n"
        }
    ' Cargo.lock "$new/packages"
    rm "$new/packages"
}

# The release is assembled beside its final path and renamed when it is complete.
new=$out.new
rm -rf "$new"
mkdir -p "$new"
for target in $built; do
    case $target in
    x86_64-*) architecture=linux-amd64 ;;
    aarch64-*) architecture=linux-arm64 ;;
    *) die "there is no release architecture for $target" ;;
    esac
    file=uptimemesh-$version-$architecture
    cp "$target_dir/$target/dist/uptimemesh" "$new/$file"
    chmod 755 "$new/$file"
    printf '%s %s %s\n' "$architecture" "$file" "$(sum "$new/$file")" >>"$new/artifacts"
    say "$file: $(wc -c <"$new/$file") bytes"
done
for file in "$bootstrap" "$updater" ops/install.sh ops/release-key.pub ops/CHANGELOG.md; do
    # The installer is not in the manifest: a machine without the program cannot verify one.
    [ ! -e "$file" ] || { mkdir -p "$new/$(dirname "$file")" && cp "$file" "$new/$file"; }
done
manifest "$new/artifacts" >"$new/version.json"
rm "$new/artifacts"
bill >"$new/uptimemesh-$version.cdx.json"

if [ -n "$key" ]; then
    program=$target_dir/${host%%-*}-unknown-linux-musl/dist/uptimemesh
    [ -x "$program" ] || die "signing needs a target that runs on this machine"
    "$program" release sign --key-file "$key" --expires-days "$expires_days" "$new/version.json"
else
    say "the manifest is not signed: nodes will not accept it (--key-file)"
fi
sums=$(cd "$new" && find . -type f | LC_ALL=C sort | sed 's,^\./,,' | xargs sha256sum)
printf '%s\n' "$sums" >"$new/SHA256SUMS"
find "$new" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
rm -rf "$out"
mv "$new" "$out"
say "the release is in $out"
