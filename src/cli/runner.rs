//! Commands of the runner that is a service of root's: runner, runner stop-all, runner trust.

use super::agent::{named, said};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::output;
use crate::agent::config::level;
use crate::clock;
use crate::crypto::pki;
use crate::error::Doing;
use crate::files;
use crate::logger;
use crate::model::ids::ReplicaId;
use crate::runner::container::find_socket;
use crate::runner::ledger::{Ledger, Trust};
use crate::runner::messages::{self, FromRunner, ToRunner};
use crate::runner::service::Service;
use crate::runner::{Runner, RunnerConfig};
use crate::sys::accounts::Account;
use crate::sys::{local_socket, notify, owner, signals};
use crate::thread::Stop;
use log::LevelFilter;
use std::io::{BufReader, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Places of the service as it is installed.
const DIR: &str = "/var/lib/uptimemesh-runner";
const RUNS: &str = "/run/uptimemesh/runs";
const SOCKET: &str = "/run/uptimemesh/runner.sock";
const POLICY: &str = "/etc/uptimemesh/runner.conf";
/// User that the agent runs as.
const AGENT: &str = "uptimemesh";
/// Seconds within which all replicas have to stop: as long as the unit waits, without the time to say so.
const STOP_S: i64 = 280;
/// Time that a runner has beyond that for its answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Time in which a runner that is being restarted listens again.
const RESTART_TIME: Duration = Duration::from_secs(5);
/// Pause before it is looked for again.
const RETRY: Duration = Duration::from_millis(200);

/// Options of all three commands.
const PLACES: &[Opt] = &[
    opt(
        "dir",
        "DIR",
        "what the runner keeps: the node's work, logs (default /var/lib/uptimemesh-runner) [UPTIMEMESH_RUNNER_DIR]",
    ),
    opt("socket", "FILE", "socket for the agent (default /run/uptimemesh/runner.sock) [UPTIMEMESH_RUNNER_SOCKET]"),
    opt("runs-dir", "DIR", "state of what runs, gone after a boot (default /run/uptimemesh/runs)"),
    opt("policy", "FILE", "what root lets replicas do (default /etc/uptimemesh/runner.conf)"),
];

/// Options of `runner`.
const RUN: &[Opt] = &[
    opt("agent-user", "NAME", "the agent's user, who is heard beside root (default uptimemesh)"),
    opt("log-level", "LEVEL", "DEBUG, INFO, WARNING or ERROR (default INFO) [LOG_LEVEL]"),
    opt("log-file", "FILE", "log file beside stderr [LOG_FILE]"),
];

/// Options of `runner stop-all`.
const STOP: &[Opt] =
    &[opt("at-most", "SECONDS", "longest wait, 1 to 3600 (default 280); each replica has its own grace within it")];

/// Options of `runner trust`.
const TRUST: &[Opt] = &[
    opt("node-id", "ID", "the node that this machine is, with --authority"),
    opt("authority", "FILE", "certificates (PEM) of the cluster's authorities, the only ones to believe from now on"),
    opt("fingerprint", "HEX", "of the certificates, take only the one with this SHA-256"),
];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("runner", "", "Run what is assigned to this machine, as a service of root's.", &[PLACES, RUN], runner),
    command(
        "runner stop-all",
        "",
        "Stop all replicas of this machine, each with its grace, until the runner starts again.",
        &[PLACES, STOP],
        stop_all,
    ),
    command("runner trust", "", "Show or set whose work this machine's runner believes.", &[PLACES, TRUST], trust),
];

/// Places of the runner.
struct Places {
    dir: PathBuf,
    socket: PathBuf,
    config: RunnerConfig,
}

impl Places {
    fn of(args: &Args) -> Result<Places, Failure> {
        let place = |name, variable, default: &str| {
            said(args, name, variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        let dir = place("dir", "UPTIMEMESH_RUNNER_DIR", DIR);
        let config = RunnerConfig {
            runs_dir: place("runs-dir", "", RUNS),
            logs_dir: dir.join("logs"),
            policy: place("policy", "", POLICY),
            program: std::env::current_exe().map_err(|e| format!("this program's own file cannot be found: {e}"))?,
            container_socket: find_socket(|name| std::env::var(name).ok()),
        };
        Ok(Places { socket: place("socket", "UPTIMEMESH_RUNNER_SOCKET", SOCKET), dir, config })
    }

    /// The service, which runs what its ledger holds, or only stops it. Fails if another one works here.
    fn start(self, only_stops: bool) -> Result<Arc<Service>, Failure> {
        let parent = self.config.runs_dir.parent().unwrap_or(&self.config.runs_dir);
        files::public_dir(parent)?;
        let runner = Runner::start(self.config)?;
        let ledger = Ledger::open(&self.dir)?;
        if only_stops {
            runner.halt(ledger.document());
        }
        Ok(Service::start(ledger, runner))
    }
}

fn runner(args: &Args) -> Result<(), Failure> {
    let places = Places::of(args)?;
    let user = args.get("agent-user").unwrap_or(AGENT);
    let log_level = said(args, "log-level", "LOG_LEVEL").map_or(Some(LevelFilter::Info), |word| level(&word));
    let log_level = log_level.unwrap_or_else(|| {
        args.fault("--log-level must be DEBUG, INFO, WARNING or ERROR".to_string());
        LevelFilter::Info
    });
    args.finish()?;
    logger::init(log_level, said(args, "log-file", "LOG_FILE").map(PathBuf::from))?;
    let stop = Stop::default();
    signals::listen(&stop)?;
    let socket = places.socket.clone();
    let service = places.start(false)?;
    let agent = Account::find(user);
    if agent.is_none() {
        log::warn!(
            target: "runner", event = "runner.no_agent_user", user; "There is no such user, so only root is heard"
        );
    }
    let listener =
        local_socket::listen(&socket, agent.as_ref().map(Account::gid)).doing("listen on the runner's socket")?;
    let users = [0, owner::user()].into_iter().chain(agent.map(|account| account.uid)).collect();
    service.listen(listener, users)?;
    log::info!(target: "runner", event = "runner.ready", socket:% = socket.display(); "The runner is ready");
    notify::ready();
    stop.wait_until_raised();
    notify::stopping();
    service.stop();
    logger::flush();
    Ok(())
}

fn stop_all(args: &Args) -> Result<(), Failure> {
    let at_most_s = args.int("at-most", STOP_S);
    if !(1..=3600).contains(&at_most_s) {
        args.fault("--at-most must be 1 to 3600 seconds".to_string());
    }
    args.finish()?;
    let at_most_s = u64::try_from(at_most_s).unwrap_or(1);
    let end = clock::tick() + RESTART_TIME;
    let left = loop {
        match stop_once(Places::of(args)?, at_most_s) {
            // The runner is being restarted, as it seems.
            Err(_) if clock::tick() < end => drop(Stop::default().wait(RETRY)),
            done => break done?,
        }
    };
    if left.is_empty() {
        output::prose("All replicas of this machine are stopped, until the runner starts again.\n");
        return Ok(());
    }
    let names: Vec<&str> = left.iter().map(ReplicaId::as_str).collect();
    Err(format!("after {at_most_s} s these replicas still run: {}", names.join(", ")).into())
}

/// Stops all replicas, by the runner or without one. Returns those that still run.
fn stop_once(places: Places, at_most_s: u64) -> Result<Vec<ReplicaId>, Failure> {
    match UnixStream::connect(&places.socket) {
        Ok(stream) => ask(stream, at_most_s),
        // No runner: what it has left is stopped from here.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            let service = places.start(true)?;
            let left = service.stop_all(Duration::from_secs(at_most_s));
            service.stop();
            Ok(left)
        }
        Err(e) => Err(format!("the runner cannot be reached at {}: {e}", places.socket.display()).into()),
    }
}

/// Asks a runner to stop all replicas. Returns those that still run.
fn ask(mut stream: UnixStream, at_most_s: u64) -> Result<Vec<ReplicaId>, Failure> {
    const DOING: &str = "talk to the runner";
    let end = clock::tick() + Duration::from_secs(at_most_s) + ANSWER_TIME;
    let mut lines = BufReader::new(stream.try_clone().doing(DOING)?);
    loop {
        let left = end.saturating_duration_since(clock::tick()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).doing(DOING)?;
        match messages::read::<FromRunner>(&mut lines)? {
            None => return Err("the runner ended before it had stopped all replicas: try again".to_string().into()),
            Some(FromRunner { left: Some(left), .. }) => return Ok(left),
            Some(FromRunner { refused: Some(why), .. }) => return Err(format!("the runner refused: {why}").into()),
            // Its first words: it listens.
            Some(FromRunner { abilities: Some(_), .. }) => {
                messages::write(&mut stream, &ToRunner::stop_all(at_most_s))?
            }
            Some(_) => {}
        }
    }
}

fn trust(args: &Args) -> Result<(), Failure> {
    let places = Places::of(args)?;
    let (node_id, authority) = (named(args), args.get("authority").map(PathBuf::from));
    if authority.is_some() && node_id.is_none() {
        args.fault("--authority needs --node-id".to_string());
    }
    args.finish()?;
    let mut ledger = Ledger::open(&places.dir)?;
    if let (Some(node_id), Some(file)) = (node_id, authority) {
        let pem = files::read_named(&file).map_err(|e| format!("{} cannot be read: {e}", file.display()))?;
        // With or without the colons that other programs print.
        let meant = args.get("fingerprint").map(|print| print.replace(':', "").to_lowercase());
        let is_meant = |pem: &String| meant.is_none() || pki::fingerprint_hex(pem) == meant;
        let authorities = pki::certificates(&pem).into_iter().filter(is_meant).collect();
        ledger.pin(Trust::new(node_id, authorities).map_err(|_| unfit(&file))?)?;
    }
    output::prose(&match ledger.trust() {
        Some(trust) => {
            let lines: String = trust.fingerprints().iter().map(|print| format!("  authority {print}\n")).collect();
            format!("The runner believes work for the node {} that one of these signed:\n{lines}", trust.node_id)
        }
        None => "The runner trusts no authority yet: the first work decides. Set one by --node-id and --authority.\n"
            .to_string(),
    });
    Ok(())
}

fn unfit(file: &Path) -> Failure {
    format!(
        "{} has none of the certificates that are meant, or too many: it must have those of the cluster's authorities \
            (cluster-ca.crt), in PEM",
        file.display()
    )
    .into()
}
