#!/bin/sh
# Builds the Debian package from an existing program; the same input gives the same bytes.
#   ops/build-deb.sh PROGRAM OUT-DIR
# Needs dpkg-deb. SOURCE_DATE_EPOCH is the date of the files in it (default: the last commit's, else 0). The program must
# run here: it prints units, manual page and completions. ARCHITECTURE is that of the program (default: this machine's).
set -eu
[ $# -eq 2 ] || { echo "usage: build-deb.sh PROGRAM OUT-DIR" >&2; exit 2; }
program=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
arch=${ARCHITECTURE:-$(dpkg --print-architecture)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
version=$("$program" version | cut -d ' ' -f 2)
# A pre-release comes before its release.
debian_version=$(printf '%s' "$version" | sed 's/-/~/')

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
root=$work/root
mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/usr/lib/systemd/system" "$root/etc/uptimemesh" "$root/etc/logrotate.d" \
    "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
    "$root/usr/share/fish/vendor_completions.d" "$root/usr/share/doc/uptimemesh"

install -m 0755 "$program" "$root/usr/bin/uptimemesh"
# Only packages replace the package's program: our updater never writes to /usr/bin.
for unit in uptimemesh.service uptimemesh-agent.service uptimemesh-runner.service uptimemesh-work.service; do
    "$program" unit "$unit" | sed 's,/usr/local/bin/,/usr/bin/,; s/ uptimemesh-recover.service//; /^# Finish or undo an interrupted update/d' >"$root/usr/lib/systemd/system/$unit"
done
"$program" unit uptimemesh.env >"$root/etc/uptimemesh/uptimemesh.env"
chmod 0640 "$root/etc/uptimemesh/uptimemesh.env"
"$program" unit runner.conf >"$root/etc/uptimemesh/runner.conf"
"$program" unit uptimemesh.logrotate >"$root/etc/logrotate.d/uptimemesh"
"$program" man | gzip -9n >"$root/usr/share/man/man1/uptimemesh.1.gz"
"$program" completions bash >"$root/usr/share/bash-completion/completions/uptimemesh"
"$program" completions zsh >"$root/usr/share/zsh/vendor-completions/_uptimemesh"
"$program" completions fish >"$root/usr/share/fish/vendor_completions.d/uptimemesh.fish"
cat >"$root/usr/share/doc/uptimemesh/copyright" <<'EOF'
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: UptimeMesh

Files: *
Copyright: The UptimeMesh authors
License: Apache-2.0
 On Debian systems, the full text of the Apache License version 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
EOF

cat >"$root/DEBIAN/control" <<EOF
Package: uptimemesh
Version: $debian_version
Architecture: $arch
Maintainer: The UptimeMesh authors <root@localhost>
Section: admin
Priority: optional
Depends: passwd
Recommends: logrotate
Installed-Size: $(du -sk --apparent-size "$root/usr" | cut -f 1)
Description: cluster manager for small fleets
 Control plane, node agent and command line in one program, for some machines
 that do not need Kubernetes.
EOF
printf '%s\n' /etc/uptimemesh/uptimemesh.env /etc/uptimemesh/runner.conf /etc/logrotate.d/uptimemesh >"$root/DEBIAN/conffiles"

cat >"$root/DEBIAN/postinst" <<'EOF'
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
if ! getent passwd uptimemesh >/dev/null; then
    getent group uptimemesh >/dev/null || groupadd --system uptimemesh
    useradd --system --gid uptimemesh --home-dir /var/lib/uptimemesh --no-create-home --shell /usr/sbin/nologin uptimemesh
fi
if ! getent passwd uptimemesh-work >/dev/null; then
    getent group uptimemesh-work >/dev/null || groupadd --system uptimemesh-work
    useradd --system --gid uptimemesh-work --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin uptimemesh-work
fi
for dir in /var/lib/uptimemesh /var/log/uptimemesh; do
    mkdir -p "$dir"
    chown uptimemesh:uptimemesh "$dir"
done
chmod 0700 /var/lib/uptimemesh
chmod 0750 /var/log/uptimemesh
# The services read it themselves.
chown root:uptimemesh /etc/uptimemesh/uptimemesh.env
chmod g+r /etc/uptimemesh/uptimemesh.env
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # Restart the services that were running before the upgrade; what the runner runs goes on.
    systemctl try-restart uptimemesh-runner.service uptimemesh.service uptimemesh-agent.service
fi
if [ -z "$2" ]; then
    echo "UptimeMesh is installed and not started. Settings are in /etc/uptimemesh/uptimemesh.env."
    echo "  A first node:    systemctl enable --now uptimemesh-runner uptimemesh-work uptimemesh"
    echo "  To join one:     su -s /bin/sh uptimemesh -c 'DATA_DIR=/var/lib/uptimemesh uptimemesh join --join-file -' < JOIN-FILE"
    echo "                   systemctl enable --now uptimemesh-runner uptimemesh-work uptimemesh-agent"
fi
EOF
cat >"$root/DEBIAN/prerm" <<'EOF'
#!/bin/sh
set -e
[ "$1" = remove ] || exit 0
if [ -d /run/systemd/system ]; then
    systemctl stop uptimemesh.service uptimemesh-agent.service uptimemesh-work.service
    systemctl stop uptimemesh-runner.service
    systemctl disable --quiet uptimemesh.service uptimemesh-agent.service uptimemesh-work.service uptimemesh-runner.service
fi
EOF
cat >"$root/DEBIAN/postrm" <<'EOF'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
[ "$1" = purge ] || exit 0
rm -rf /var/lib/uptimemesh /var/lib/uptimemesh-runner /var/log/uptimemesh /etc/uptimemesh
for name in uptimemesh uptimemesh-work; do
    if getent passwd $name >/dev/null; then userdel $name; fi
    if getent group $name >/dev/null; then groupdel $name; fi
done
EOF
chmod 0755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm" "$root/DEBIAN/postrm"

find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$out"
# Every dpkg reads gzip, and the program is small.
dpkg-deb --root-owner-group -Zgzip -z6 --build "$root" "$out/uptimemesh_${debian_version}_$arch.deb" >&2
echo "$out/uptimemesh_${debian_version}_$arch.deb"
