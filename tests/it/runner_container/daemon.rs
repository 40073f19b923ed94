//! Container daemons of a test's own: each in a network of its own, with its files in the test's directory.

use crate::support::{Dir, PATIENCE, until};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The two daemons that Debian has.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Docker,
    Podman,
}

/// Where the registry of tests listens, in the daemon's own network.
pub const REGISTRY: &str = "127.0.0.1:5000";

/// A daemon, and the network that it and its registry have. Dropping it ends all of it.
pub struct Daemon {
    pub kind: Kind,
    pub dir: Dir,
    /// Holds the network.
    network: Child,
    daemon: Option<Child>,
}

/// True if this machine has a program, and we may make networks; else the tests that need it are left out.
pub fn has(programs: &[&str]) -> bool {
    for program in programs {
        let found = Command::new("sh").args(["-c", &format!("command -v {program} >/dev/null")]).status().unwrap();
        if !found.success() {
            eprintln!("left out: there is no {program}");
            return false;
        }
    }
    let can = Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|s| s.success());
    if !can {
        eprintln!("left out: networks of our own need root");
    }
    can
}

impl Daemon {
    /// Starts one. `None` if this machine has none.
    pub fn start(kind: Kind) -> Option<Daemon> {
        let program = match kind {
            Kind::Docker => "dockerd",
            Kind::Podman => "podman",
        };
        if !has(&[program, "busybox", "tar", "nsenter"]) {
            return None;
        }
        let dir = Dir::new();
        let mut network = Command::new("unshare");
        network.args(["--net", "sh", "-c", "ip link set lo up; echo up; exec sleep 86400"]).stdout(Stdio::piped());
        let mut network = network.spawn().unwrap();
        let mut up = [0; 3];
        network.stdout.take().unwrap().read_exact(&mut up).unwrap();
        let mut daemon = Daemon { kind, dir, network, daemon: None };
        daemon.write_settings();
        daemon.run();
        daemon.load_image();
        Some(daemon)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("d.sock")
    }

    fn write_settings(&self) {
        let engine = "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n";
        let limits = "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n";
        fs::write(self.dir.join("containers.conf"), format!("{limits}{engine}")).unwrap();
        let registries = format!("[[registry]]\nlocation = \"{REGISTRY}\"\ninsecure = true\n");
        fs::write(self.dir.join("registries.conf"), registries).unwrap();
    }

    /// A command in the daemon's network.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "-t", &self.network.id().to_string(), program]);
        command
    }

    /// Starts the daemon (again), and waits until it answers.
    pub fn run(&mut self) {
        let dir = self.dir.path().to_path_buf();
        let path = |name: &str| dir.join(name).display().to_string();
        let host = format!("unix://{}", self.socket().display());
        let _ = fs::remove_file(path("pid"));
        let mut command = match self.kind {
            Kind::Docker => {
                let mut command = self.command("dockerd");
                command.args(["--data-root", &path("root"), "--exec-root", &path("exec"), "-p", &path("pid")]);
                command.args(["-H", &host, "--storage-driver", "vfs", "--live-restore"]);
                command
            }
            Kind::Podman => {
                let mut command = self.command("podman");
                command.args(["--root", &path("root"), "--runroot", &path("run"), "--storage-driver", "vfs"]);
                command.args(["system", "service", "-t", "0", &host]);
                command.env("CONTAINERS_CONF", path("containers.conf"));
                command.env("CONTAINERS_REGISTRIES_CONF", path("registries.conf"));
                command
            }
        };
        let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        until("the container daemon answers", || {
            self.try_call("GET", "/_ping", b"").filter(|(status, _)| *status == 200)
        });
    }

    pub fn signal(&self, name: &str) {
        let pid = self.daemon.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Kills the daemon as a crash would.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        // Its containerd dies with it, but where process 1 reaps nothing the next daemon would take it for alive.
        let _ = fs::remove_file(self.dir.join("exec/containerd/containerd.pid"));
    }

    /// Calls the daemon.
    fn try_call(&self, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let kind = if body.starts_with(b"{") { "application/json" } else { "application/x-tar" };
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: d\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let at = answer.windows(4).position(|end| end == b"\r\n\r\n")?;
        let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
        Some((status, answer[at + 4..].to_vec()))
    }

    /// Calls the daemon; it must agree.
    pub fn call(&self, method: &str, path: &str, body: &[u8]) -> Value {
        self.call_at(method, &format!("/v1.41{path}"), body)
    }

    /// Podman's own description of a thing.
    pub fn podman(&self, path: &str) -> Value {
        self.call_at("GET", &format!("/v4.0.0/libpod{path}"), b"")
    }

    fn call_at(&self, method: &str, path: &str, body: &[u8]) -> Value {
        let (status, text) = self.try_call(method, path, body).expect("an answer");
        let text = String::from_utf8_lossy(&text);
        assert!(status < 400, "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// All containers, ended ones too.
    pub fn containers(&self) -> Vec<Value> {
        self.call("GET", "/containers/json?all=true", b"").as_array().unwrap().clone()
    }

    /// Loads the image of tests, as `localhost/bb:1`.
    fn load_image(&self) {
        let archive = image(self.dir.path());
        self.call("POST", "/images/load", &fs::read(archive).unwrap());
    }
}

/// An image with busybox, as an archive.
pub fn image(dir: &Path) -> PathBuf {
    let archive = dir.join("image.tar");
    let script = r#"
        set -e; mkdir -p image rootfs/bin rootfs/etc rootfs/tmp; cp "$(command -v busybox)" rootfs/bin/busybox
        for lib in $(ldd rootfs/bin/busybox 2>/dev/null | grep -o '/[^ ]*'); do
            mkdir -p "rootfs$(dirname "$lib")"; cp -L "$lib" "rootfs$lib"
        done
        for name in sh sleep echo httpd cat kill; do ln -sf busybox rootfs/bin/$name; done
        echo 'root:x:0:0::/:/bin/sh' >rootfs/etc/passwd; echo 'it serves' >rootfs/index.html
        chmod 755 rootfs; head -c 3000000 /dev/urandom >rootfs/ballast
        tar -C rootfs --owner 0 --group 0 -cf image/layer.tar .
        digest=$(sha256sum image/layer.tar | cut -d' ' -f1); arch=$(dpkg --print-architecture 2>/dev/null || echo amd64)
        cat >image/config.json <<END
{"architecture":"$arch","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:$digest"]}}
END
        echo '[{"Config":"config.json","RepoTags":["localhost/bb:1"],"Layers":["layer.tar"]}]' >image/manifest.json
        tar -C image -cf image.tar layer.tar config.json manifest.json; rm -rf image rootfs"#;
    assert!(Command::new("sh").args(["-c", script]).current_dir(dir).status().unwrap().success());
    archive
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = Command::new("kill").args(["-CONT", &daemon.id().to_string()]).status();
            if let Some((_, text)) = self.try_call("GET", "/containers/json?all=true", b"") {
                for container in serde_json::from_slice::<Vec<Value>>(&text).unwrap_or_default() {
                    let path =
                        format!("/containers/{}?force=true&v=true", container["Id"].as_str().unwrap_or_default());
                    self.try_call("DELETE", &path, b"");
                }
            }
        }
        if let Some(mut daemon) = self.daemon.take() {
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            let _ = daemon.wait();
        }
        let _ = self.network.kill();
        let _ = self.network.wait();
        // What a daemon leaves mounted would keep the directory.
        let dir = self.dir.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|at| at.starts_with(&dir)) {
            let _ = Command::new("umount").args(["-l", mount]).status();
        }
    }
}
