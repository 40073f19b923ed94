//! Files that an installation needs besides the program: units, service scripts, the rotation of logs. They are in the
//! program, so that who has checked its signature has checked theirs.

use super::args::{Args, Command, Failure, command};
use super::output;

/// The installer, which `join --install` runs.
pub const INSTALLER: &str = include_str!("../../ops/install.sh");

/// Every file by its name.
const FILES: &[(&str, &str)] = &[
    ("uptimemesh.service", include_str!("../../ops/systemd/uptimemesh.service")),
    ("uptimemesh-agent.service", include_str!("../../ops/systemd/uptimemesh-agent.service")),
    ("uptimemesh-runner.service", include_str!("../../ops/systemd/uptimemesh-runner.service")),
    ("uptimemesh-work.service", include_str!("../../ops/systemd/uptimemesh-work.service")),
    ("uptimemesh-recover.service", include_str!("../../ops/systemd/uptimemesh-recover.service")),
    ("uptimemesh-update.path", include_str!("../../ops/systemd/uptimemesh-update.path")),
    ("uptimemesh-update.service", include_str!("../../ops/systemd/uptimemesh-update.service")),
    ("uptimemesh", include_str!("../../ops/openrc/uptimemesh")),
    ("uptimemesh-agent", include_str!("../../ops/openrc/uptimemesh-agent")),
    ("uptimemesh-runner", include_str!("../../ops/openrc/uptimemesh-runner")),
    ("uptimemesh-work", include_str!("../../ops/openrc/uptimemesh-work")),
    ("uptimemesh-update", include_str!("../../ops/openrc/uptimemesh-update")),
    ("runner.conf", include_str!("../../ops/runner.conf")),
    ("uptimemesh.env", include_str!("../../ops/uptimemesh.env")),
    ("uptimemesh.logrotate", include_str!("../../ops/uptimemesh.logrotate")),
];

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("unit", "[NAME]", "Print a file that an installation needs, or the names of all.", &[], unit)];

/// The names of all of them.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// Prints one, or the names of all.
fn unit(args: &Args) -> Result<(), Failure> {
    let found = FILES.iter().find(|(name, _)| *name == args.word(0));
    match (args.word(0), found) {
        ("", _) => output::print(&names().map(|name| format!("{name}\n")).collect::<String>()),
        (_, Some((_, text))) => output::print(text),
        (name, None) => {
            args.fault(format!("NAME must be one of {}, not {name:?}", names().collect::<Vec<_>>().join(", ")))
        }
    }
    args.finish()
}
