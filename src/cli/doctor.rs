//! `uptimemesh doctor`: examines whatever of UptimeMesh is on this machine.

use super::agent::{IDENTITY, control_plane, node};
use super::args::{Args, Command, Failure, command};
use super::connect::said_api_url;
use super::output::{self, OUTPUT};
use super::server;
use crate::agent::doctor;
use crate::agent::identity;
use crate::client::{Api, Trust};
use crate::config::Config;
use crate::crypto::pki::CLUSTER;
use crate::model::findings::{Finding, Level};
use crate::model::ids::NodeId;
use crate::sys::doctor::machine;
use crate::sys::owner;
use crate::{files, offline, serve};
use serde_json::json;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// Most identities to examine if none is named: a machine has one, and a few from experiments.
const IDENTITIES_MAX: usize = 16;

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("doctor", "", "Examine this machine and what of UptimeMesh is on it.", &[OUTPUT, IDENTITY], doctor)
        .with_settings()];

fn doctor(args: &Args) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let data_dir = match server::load(args)? {
        Ok(config) => {
            work_in(args, &config.data_dir)?;
            findings.extend(of_server(&config));
            findings.extend(strict(args, &config)?);
            config.data_dir
        }
        Err(faults) => {
            let to_do = "correct it in the environment, .env or the unit of the service; uptimemesh docs settings \
                lists every setting";
            findings.extend(faults.into_iter().map(|fault| Finding::fail("config", fault, to_do)));
            let data_dir = PathBuf::from(args.get("data-dir").unwrap_or("data"));
            work_in(args, &data_dir)?;
            data_dir
        }
    };
    let identities = identities(args, &data_dir);
    args.finish()?;
    let is_server = findings.iter().any(|f| f.check == "database" || f.check == "database.integrity");
    if !is_server {
        findings.extend(machine(identities.first().map_or(&here(&data_dir), |(_, dir)| dir)));
    }
    for (node_id, dir) in &identities {
        findings.extend(doctor::of_identity(&control_plane(args, said_api_url(args), dir)?, dir, node_id));
    }
    if identities.is_empty() {
        let seen = format!("no node of this machine has an identity in {}", data_dir.join("identities").display());
        findings.push(match is_server {
            true => Finding::skipped("identity", seen),
            false => Finding::warn(
                "identity",
                seen + ", and no control plane is here",
                "name the right directory: uptimemesh doctor --data-dir DIR; or begin: uptimemesh up",
            ),
        });
    }
    report(args, &findings)
}

/// As root, becomes the owner of what is examined: the data directory, or on a machine without one the identity that is
/// named.
fn work_in(args: &Args, data_dir: &Path) -> Result<(), Failure> {
    let named = args.get("identity-dir").filter(|_| !data_dir.exists()).map(Path::new);
    Ok(owner::become_owner_of(named.unwrap_or(data_dir))?)
}

/// Findings of the strict checks that are off, for operators who plan to turn them on.
fn strict(args: &Args, config: &Config) -> Result<Option<Finding>, Failure> {
    const CHECK: &str = "config.strict";
    if config.is_production() {
        return Ok(None);
    }
    let flags = [args.settings(), vec![("app-env".to_string(), "production".to_string())]].concat();
    Ok(Some(match server::load_with(&flags)? {
        Ok(_) => Finding::ok(CHECK, "the strict checks are off and would pass: set APP_ENV=production"),
        Err(faults) => Finding::skipped(
            CHECK,
            format!(
                "the strict checks are off; with APP_ENV=production the server would not start: {}",
                faults.join("; ")
            ),
        ),
    }))
}

/// The control plane's data, and its port.
fn of_server(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "server";
    let there = |path: &Path| path.try_exists();
    match there(&config.database_path).and_then(|database| Ok(database || there(&config.pki_dir)?)) {
        Ok(true) => {}
        Ok(false) => {
            let why = format!("no control plane is here: there is no database at {}", config.database_path.display());
            return vec![Finding::skipped(CHECK, why)];
        }
        Err(e) => {
            let seen = format!("this user cannot read {}: {e}", config.data_dir.display());
            return vec![Finding::fail(
                CHECK,
                seen,
                format!("sudo uptimemesh doctor --data-dir {}", config.data_dir.display()),
            )];
        }
    }
    let (mut findings, runs) = offline::examine(config);
    findings.push(port(config, runs));
    if runs && config.tls && config.server_port != 0 {
        findings.push(reach(config));
    }
    findings
}

/// Checks that the server answers at every address of a join string.
fn reach(config: &Config) -> Finding {
    const CHECK: &str = "server.reach";
    let to_do = "let the firewall pass it, or say where others reach this server: ADVERTISE_ADDRESSES";
    let Some(pem) = files::read(&config.pki_dir.join(CLUSTER.cert)).ok().flatten() else {
        return Finding::skipped(CHECK, "the authority's certificate cannot be read");
    };
    let addresses = offline::reached_at(config);
    let fails = |at: &String| {
        let api = Api::with(&[format!("https://{at}")], Some(Trust::Cluster(pem.clone())), None)?;
        api.get("/health").map(drop).map_err(|e| e.to_string())
    };
    let silent: Vec<String> = addresses.iter().filter_map(|at| fails(at).err()).collect();
    match silent.is_empty() {
        true => {
            Finding::ok(CHECK, format!("it answers wherever a join string says that it is: {}", addresses.join(", ")))
        }
        false => Finding::warn(
            CHECK,
            format!("a join string says where it does not answer from here: {}", silent.join("; ")),
            to_do,
        ),
    }
}

/// Checks that the port is the server's, or free.
fn port(config: &Config, runs: bool) -> Finding {
    const CHECK: &str = "server.port";
    let (said, port) = (config.server_host.trim_matches(['[', ']']), config.server_port);
    let host = if said.is_empty() { "every address" } else { said };
    if port == 0 {
        return Finding::skipped(
            CHECK,
            format!(
                "{}; the port is another at each start (SERVER_PORT=0)",
                if runs { "a server runs" } else { "no server runs" }
            ),
        );
    }
    let who = format!("ss -ltnp 'sport = :{port}'");
    if runs {
        return match answer(config, said) {
            Ok(url) => Finding::ok(CHECK, format!("a server runs on this data and answers at {url}")),
            Err(why) => Finding::fail(
                CHECK,
                format!("a server runs on this data and does not answer where this configuration says: {why}"),
                format!("{who}; tail {}", config.data_dir.join("app.log").display()),
            ),
        };
    }
    match serve::bind(said, port) {
        Ok(_) => Finding::ok(CHECK, format!("no server runs on this data; port {port} of {host} is free for it")),
        Err(e) if e.kind() == ErrorKind::AddrInUse => Finding::fail(
            CHECK,
            format!("port {port} of {host} is another program's"),
            format!("{who}; stop that one, or choose another port: SERVER_PORT"),
        ),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Finding::fail(
            CHECK,
            format!("this user may not listen on port {port}"),
            "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit of the service (systemctl edit uptimemesh), or a \
                port from 1024 on",
        ),
        Err(e) => Finding::fail(
            CHECK,
            format!("it is not possible to listen on port {port} of {host}: {e}"),
            "ip address; then set SERVER_HOST to one of them, or leave it out",
        ),
    }
}

/// Asks the server whether it is there; gives the URL.
fn answer(config: &Config, host: &str) -> Result<String, String> {
    let near = match host.parse::<IpAddr>() {
        _ if host.is_empty() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
        _ => host.to_string(),
    };
    let loopback = near == "localhost" || near.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let near = if near.contains(':') { format!("[{near}]") } else { near };
    let secure = config.tls && !loopback;
    let url = format!("{}://{near}:{}", if secure { "https" } else { "http" }, config.server_port);
    let trust = match secure {
        true => {
            let pem = files::read(&config.pki_dir.join(CLUSTER.cert))
                .ok()
                .flatten()
                .ok_or("the authority's certificate cannot be read")?;
            Some(Trust::Cluster(pem))
        }
        false => None,
    };
    Api::with(std::slice::from_ref(&url), trust, None)?.get("/health").map_err(|e| e.to_string())?;
    Ok(url)
}

/// The nodes of this machine, with the directories of their identities.
fn identities(args: &Args, data_dir: &Path) -> Vec<(NodeId, PathBuf)> {
    if args.get("node-id").is_some() {
        return vec![node(args, data_dir, "")];
    }
    let dir = args.get("identity-dir").map_or_else(|| data_dir.join("identities"), PathBuf::from);
    let mut found = identity::all_in(&dir);
    found.truncate(IDENTITIES_MAX);
    if found.is_empty() && args.get("identity-dir").is_some() {
        found.push(node(args, data_dir, ""));
    }
    found
}

/// The nearest directory that is there: what will be made is made in it.
fn here(dir: &Path) -> PathBuf {
    dir.ancestors().find(|d| d.is_dir()).map_or(PathBuf::from("."), Path::to_path_buf)
}

/// The text with its moments in whole seconds.
fn without_fractions(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', ';', ':', '.']);
        output::moment(bare) + &word[bare.len()..]
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Prints the findings; fails where one of them does.
fn report(args: &Args, findings: &[Finding]) -> Result<(), Failure> {
    let count = |level: Level| findings.iter().filter(|f| f.level == level).count();
    let (warnings, failures) = (count(Level::Warn), count(Level::Fail));
    if output::wants_json(args) {
        let worst = findings.iter().map(|f| f.level).max().unwrap_or(Level::Ok);
        output::structured(
            args,
            &json!({"worst": worst, "warnings": warnings, "failures": failures, "findings": findings}),
        );
    } else {
        let style = output::style(args);
        let (look, is_terminal) = (style.look(), style.terminal.is_some());
        let seen = |text: &str| if is_terminal { without_fractions(text) } else { text.to_string() };
        let mut text = String::new();
        for finding in findings {
            text.push_str(&format!(
                "{} {:<24} {}\n",
                output::state(&format!("{:<8}", finding.level.as_str()), &look),
                finding.check,
                output::ascii(&seen(&finding.seen))
            ));
            if let Some(to_do) = &finding.to_do {
                text.push_str(&format!("{:<8} {:<24} -> {}\n", "", "", output::ascii(to_do)));
            }
        }
        text.push_str(&format!("{} checks: {warnings} warnings, {failures} failures.\n", findings.len()));
        output::prose(&text);
    }
    match failures {
        0 => Ok(()),
        _ => Err(Failure::Failed(format!("{failures} of these checks failed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_moments_in_whole_seconds() {
        let text = "valid until 2026-11-28T20:12:00.123456Z, and 1.5 is left";
        assert_eq!(without_fractions(text), "valid until 2026-11-28T20:12:00Z, and 1.5 is left");
    }
}
