#!/bin/sh
# Builds a container image from a static program, without Docker: a tar in the OCI image layout, FROM scratch; the same
# input gives the same bytes.
#   ops/build-oci.sh PROGRAM OUT.tar
# Needs GNU tar, gzip and sha256sum. ARCHITECTURE is that of the program, amd64 or arm64 (default: this machine's).
set -eu
[ $# -eq 2 ] || { echo "usage: build-oci.sh PROGRAM OUT.tar" >&2; exit 2; }
program=$1
out=$2
if [ -z "${ARCHITECTURE:-}" ]; then
    case $(uname -m) in
        x86_64) ARCHITECTURE=amd64 ;;
        aarch64) ARCHITECTURE=arm64 ;;
        *) echo "error: set ARCHITECTURE to that of the program: amd64 or arm64" >&2; exit 1 ;;
    esac
fi
# An image from scratch has no loader. A program that needs one names its path in its header.
if head -c 8192 "$program" | LC_ALL=C grep -aq '/ld-'; then
    [ "${ALLOW_DYNAMIC:-}" = yes ] || { echo "error: $program is not static: build it for a musl target" >&2; exit 1; }
fi
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
version=$("$program" version | cut -d ' ' -f 2)
created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
root=$work/root
layout=$work/layout
blobs=$layout/blobs/sha256
mkdir -p "$root/usr/bin" "$root/data" "$blobs"
install -m 0755 "$program" "$root/usr/bin/uptimemesh"
chmod 0700 "$root/data"

pack() { tar --create --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --numeric-owner "$@"; }
digest() { sha256sum "$1" | cut -d ' ' -f 1; }
# keep FILE: moves it to the blobs, and prints its digest and size in the form of a descriptor.
keep() {
    sum=$(digest "$1")
    size=$(wc -c <"$1")
    mv "$1" "$blobs/$sum"
    printf '"digest":"sha256:%s","size":%d' "$sum" "$size"
}

# The data belongs to the user that runs the program; no user in the image has a name.
pack -C "$root" --owner=0 --group=0 -f "$work/layer.tar" usr
pack -C "$root" --owner=65532 --group=65532 -f "$work/data.tar" data
tar --concatenate -f "$work/layer.tar" "$work/data.tar"
diff=$(digest "$work/layer.tar")
gzip -9n "$work/layer.tar"
layer=$(keep "$work/layer.tar.gz")

cat >"$work/config" <<EOF
{"created":"$created","architecture":"$ARCHITECTURE","os":"linux","config":{"User":"65532:65532","ExposedPorts":{"8000/tcp":{}},"Env":["PATH=/usr/bin","DATA_DIR=/data","LOG_FILE="],"Entrypoint":["/usr/bin/uptimemesh"],"Cmd":["up"],"Volumes":{"/data":{}},"WorkingDir":"/data","StopSignal":"SIGTERM","Labels":{"org.opencontainers.image.title":"UptimeMesh","org.opencontainers.image.version":"$version","org.opencontainers.image.licenses":"Apache-2.0"}},"rootfs":{"type":"layers","diff_ids":["sha256:$diff"]},"history":[{"created":"$created","created_by":"ops/build-oci.sh"}]}
EOF
config=$(keep "$work/config")
cat >"$work/manifest" <<EOF
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",$config},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",$layer}]}
EOF
manifest=$(keep "$work/manifest")
cat >"$layout/index.json" <<EOF
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",$manifest,"platform":{"architecture":"$ARCHITECTURE","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"uptimemesh:$version"}}]}
EOF
echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
pack -C "$layout" --owner=0 --group=0 -f "$out.new" oci-layout index.json blobs
mv -f "$out.new" "$out"
echo "$out"
