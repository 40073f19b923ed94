//! A bare machine for tests of what is installed: a root directory of its own over this system's, without anything of
//! ours in it, and processes of its own that end with it. No service manager runs in it: stand-ins (`tests/machine`)
//! read the installed units and start what they say.

use crate::support::{Client, Dir, until, write_program};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// What starts its services.
#[derive(Clone, Copy, PartialEq)]
pub enum Init {
    /// Debian with systemd.
    Systemd,
    /// OpenRC, and no programs but busybox's: a machine as Alpine makes them.
    OpenRc,
}

/// Whether this machine lets us make others; elsewhere the tests that need it say so and are left out.
pub fn can_have_machines() -> bool {
    let can = Command::new("unshare").args(["--mount", "--pid", "--fork", "true"]).status().is_ok_and(|s| s.success());
    if !can {
        eprintln!("left out: machines of our own need root");
    }
    can
}

/// A port of 127.0.0.1 that is free now, and given to no other connection while a server restarts: it is below those
/// that the kernel takes.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 12_000 + (std::process::id() % 100) as u16 * 100;
    let ports = std::iter::repeat_with(|| begin + NEXT.fetch_add(1, Ordering::Relaxed)).take(1000);
    ports
        .into_iter()
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one in a thousand ports is free")
}

/// The program without what only debuggers read: it is copied again and again.
pub fn program() -> &'static Path {
    static STRIPPED: OnceLock<PathBuf> = OnceLock::new();
    STRIPPED.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("uptimemesh-stripped");
        let new = path.with_extension(std::process::id().to_string());
        let done = Command::new("strip").arg("-o").arg(&new).arg(env!("CARGO_BIN_EXE_uptimemesh")).status().unwrap();
        assert!(done.success());
        fs::rename(new, &path).unwrap();
        path
    })
}

pub struct Machine {
    outer: Child,
    /// Its process 1, as this system counts.
    pid: u32,
    init: Init,
    _dir: Dir,
}

impl Machine {
    pub fn new(init: Init) -> Machine {
        let dir = Dir::new();
        let script = r#"
            mkdir fs
            mount -t tmpfs tmpfs fs
            mkdir fs/upper fs/work fs/root
            mount -t overlay overlay -o lowerdir=/,upperdir=fs/upper,workdir=fs/work fs/root
            cd fs/root
            mount -t proc proc proc
            mount --rbind /dev dev
            for fresh in run tmp usr/local srv var/lib/private; do mkdir -p $fresh; mount -t tmpfs tmpfs $fresh; done
            chmod 1777 tmp
            mkdir -p usr/local/bin usr/local/share
            rm -rf etc/uptimemesh var/lib/uptimemesh var/lib/uptimemesh-update var/log/uptimemesh
            touch srv/made
            exec chroot . sh -c 'while sleep 1000; do :; done'
        "#;
        let outer = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let pid = until("the machine has a process 1", || fs::read_to_string(&children).ok()?.trim().parse().ok());
        let machine = Machine { outer, pid, init, _dir: dir };
        until("the machine is made", || machine.path("/srv/made").exists().then_some(()));
        machine.equip();
        machine
    }

    /// Puts the stand-ins in, and what is to be installed.
    fn equip(&self) {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let stand_in = |name: &str, place: &str| {
            self.put(place, &fs::read(repository.join("tests/machine").join(name)).unwrap(), 0o755)
        };
        match self.init {
            Init::Systemd => {
                fs::create_dir_all(self.path("/run/systemd/system")).unwrap();
                stand_in("systemctl", "/usr/bin/systemctl");
            }
            Init::OpenRc => {
                fs::create_dir(self.path("/run/openrc")).unwrap();
                self.put("/run/openrc/softlevel", b"default\n", 0o644);
                self.ok("/bin/busybox mkdir -p /usr/local/alpine && /bin/busybox --install -s /usr/local/alpine");
                for place in ["/sbin/openrc-run", "/usr/local/alpine/rc-service", "/usr/local/alpine/rc-update"] {
                    stand_in("openrc-run", place);
                }
                // What Debian's busybox is built without, in the form that Alpine's has.
                self.put(
                    "/usr/local/alpine/addgroup",
                    b"#!/bin/sh\n[ \"$1\" = -S ] && exec /usr/sbin/groupadd --system \"$2\"\nexit 1\n",
                    0o755,
                );
                let adduser = "#!/bin/sh\n[ \"$1 $2 $3 $4 $6 $8\" = '-S -D -H -h -s -G' ] || exit 1\n\
                               exec /usr/sbin/useradd --system --home-dir \"$5\" --shell \"$7\" --gid \"$9\" \
                                   \"${10}\"\n";
                self.put("/usr/local/alpine/adduser", adduser.as_bytes(), 0o755);
                self.put("/usr/local/alpine/deluser", b"#!/bin/sh\nexec /usr/sbin/userdel \"$1\"\n", 0o755);
                self.put("/usr/local/alpine/delgroup", b"#!/bin/sh\nexec /usr/sbin/groupdel \"$1\"\n", 0o755);
                for program in ["/usr/bin/openssl", "/bin/su", "/usr/bin/setpriv"] {
                    self.ok(&format!("ln -sf {program} /usr/local/alpine/"));
                }
            }
        }
        self.put("/srv/install.sh", &fs::read(repository.join("ops/install.sh")).unwrap(), 0o755);
        self.put("/srv/uptimemesh", &fs::read(program()).unwrap(), 0o755);
    }

    /// Where a path of the machine is on this system.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    /// Writes a file in it.
    pub fn put(&self, path: &str, bytes: &[u8], mode: u32) {
        let at = self.path(path);
        let _ = fs::remove_file(&at);
        if mode & 0o111 == 0 {
            fs::write(&at, bytes).unwrap();
        } else {
            write_program(&at, bytes);
        }
        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// Runs a script in it as root.
    pub fn run(&self, script: &str) -> Output {
        let (shell, path) = match self.init {
            Init::Systemd => (&["dash"][..], "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            Init::OpenRc => (&["/bin/busybox", "ash"][..], "/usr/local/bin:/usr/local/alpine"),
        };
        let target = self.pid.to_string();
        let mut command = Command::new("/usr/bin/nsenter");
        command.args(["--target", &target, "--mount", "--pid", "--root", "--wd"]).args(shell).args(["-ec", script]);
        command.env_clear().env("PATH", path).stdin(Stdio::null()).output().unwrap()
    }

    /// The same, to a good end; gives what was printed.
    pub fn ok(&self, script: &str) -> String {
        let output = self.run(script);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{script}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// The same, to a bad end; gives what was said.
    pub fn fails(&self, script: &str) -> String {
        let output = self.run(script);
        assert!(!output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// Runs the installer in it, by the machine's own shell.
    pub fn install(&self, arguments: &str) -> String {
        self.ok(&self.installer(arguments))
    }

    /// The command line of the installer.
    pub fn installer(&self, arguments: &str) -> String {
        let shell = if self.init == Init::Systemd { "dash" } else { "/bin/busybox ash" };
        format!("{shell} /srv/install.sh {arguments}")
    }

    /// Installs it as the first node of a cluster, and gives a client of that.
    pub fn install_first(&self, node_id: &str, more: &str) -> Client {
        let port = free_port();
        self.install(&format!("first --node-id {node_id} --host 127.0.0.1 --port {port} {more}"));
        Client { address: SocketAddr::from(([127, 0, 0, 1], port)), token: None, tls: None }
    }

    /// The process of the installed program with this subcommand, as this system counts; none where it does not run.
    pub fn process(&self, subcommand: &str) -> Option<u32> {
        let namespace = fs::read_link(format!("/proc/{}/ns/pid", self.pid)).unwrap();
        fs::read_dir("/proc").unwrap().find_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            let is_it = ["/usr/local/bin", "/usr/bin"]
                .iter()
                .any(|bin| line.starts_with(&format!("{bin}/uptimemesh\0{subcommand}\0")));
            (is_it && fs::read_link(format!("/proc/{pid}/ns/pid")).ok()? == namespace).then_some(pid)
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its process 1 goes with it, and with that everything in it.
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

/// A line of `/proc/PID/status`.
pub fn status_of(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(&format!("{field}:"))).unwrap();
    line.split_once(':').unwrap().1.trim().to_string()
}
