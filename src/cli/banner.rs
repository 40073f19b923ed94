//! Output of `up` once it runs: on a terminal for a person, elsewhere for readers of a log, and then without secrets.

use crate::client::{Api, Trust};
use crate::error::Chain;
use crate::model::ids::NodeId;
use crate::serve::Server;
use crate::thread::spawn;
use std::time::Duration;

/// Life of the join string that a terminal shows.
const JOIN_TTL_S: i64 = 1800;
/// An address that has not answered by then does not answer, and connecting takes at most the other.
const ANSWER_TIME: Duration = Duration::from_secs(3);
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// Paths of this server, from its configuration.
pub struct Places {
    /// The data directory.
    pub data: String,
    /// The directory of the authorities.
    pub pki: String,
    /// The log file, if there is one.
    pub log: Option<String>,
}

/// A URL of the server for other machines, and whether it answers there.
struct Address {
    url: String,
    answers: bool,
}

/// The text for pipes and services, in the form of version 2.0.0.
pub fn plain(server: &Server, node_id: &NodeId, places: &Places) -> Result<String, crate::error::Error> {
    let Places { data, pki, .. } = places;
    let mut said = format!("UptimeMesh {} is up.\n  UI       {}/ui\n", env!("CARGO_PKG_VERSION"), server.url());
    if let Some(url) = server.urls_elsewhere().first() {
        said.push_str(&format!(
            "           {url}/ui from other machines; the certificate of its authority is {pki}/server-ca.crt\n"
        ));
    }
    said.push_str(&format!("  data     {data}\n  node     {node_id} (this machine)\n"));
    if server.has_initial_password()? {
        said.push_str(
            "  sign in  admin / uptime - change this password now: Settings in the UI, or uptimemesh set-password\n",
        );
    }
    if server.setup_code().is_some() {
        // What is not a terminal keeps what it gets: a journal, a file, the log of a container.
        said.push_str(&format!(
            "           from another machine that asks for a setup code, which is in {data}/keys/setup-code\n"
        ));
    }
    said.push_str("  add a node: uptimemesh create-token --role worker, then on it uptimemesh join\n");
    Ok(said)
}

/// The text for a terminal. Creates a join string, which is a secret. `is_followed` if only what
/// concerns an operator appears there from now on.
pub fn for_terminal(
    server: &Server,
    node_id: &NodeId,
    places: &Places,
    is_followed: bool,
) -> Result<String, crate::error::Error> {
    let mut said = Text::default();
    let authority = server.authority()?;
    let addresses = try_addresses(&server.urls_elsewhere(), &authority);
    said.line("node", &format!("{node_id} (this machine)"));
    let log = places.log.as_ref().map_or(String::new(), |log| format!("; log {log}"));
    said.line("data", &format!("{}{log}", places.data));
    if is_followed {
        said.line("here", "only warnings, errors, and nodes that join, fail or return");
    }
    for (i, Address { url, answers }) in addresses.iter().enumerate() {
        let name = if i == 0 { "elsewhere" } else { "" };
        said.line(
            name,
            &format!("{url}/ui - {}", if *answers { "answers" } else { "does not answer from this machine" }),
        );
    }
    if !addresses.is_empty() {
        said.line("", &format!("browsers there need the authority in {}/server-ca.crt", places.pki));
    }
    // On a small screen the beginning scrolls away.
    said.line("UI", &format!("{}/ui", server.url()));
    if server.has_initial_password()? {
        said.line("sign in", "admin / uptime - change it now: uptimemesh set-password");
    }
    if let Some(code) = server.setup_code() {
        said.line("", &format!("from another machine, with this setup code: {code}"));
    }
    let begin = format!("UptimeMesh {} is up.\n", env!("CARGO_PKG_VERSION"));
    let login = addresses.first().map(|address| sign_in_elsewhere(&address.url, &authority));
    Ok(begin + &invitation(server, !addresses.is_empty()) + &login.unwrap_or_default() + &said.0 + "\n")
}

/// The line that signs in from another machine.
fn sign_in_elsewhere(url: &str, authority: &str) -> String {
    format!(
        "Use the cluster from another machine: sign in there, once. The part after # proves that it is this server.\n\
         uptimemesh login {url}#sha256:{authority}\n\n"
    )
}

/// Lines of a name and what there is to say of it.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, name: &str, value: &str) {
        self.0.push_str(&format!("  {name:<10} {value}\n"));
    }
}

/// The line that adds a machine.
fn invitation(server: &Server, is_reached: bool) -> String {
    const MORE: &str = "uptimemesh token create --role worker --join-string";
    let join = server.invite_worker(JOIN_TTL_S).unwrap_or_else(|e| {
        log::warn!(target: "system", event = "up.no_join_string", error:% = Chain(&e); "Could not create a join \
            string");
        None
    });
    let Some(join) = join else {
        return format!("Add a machine: {MORE},\nthen on that machine: uptimemesh join --join-file FILE --run\n\n");
    };
    let limit =
        if is_reached { "" } else { "This server listens on this machine only, so the line works here only.\n" };
    format!(
        "Add a machine: run this line there. It holds a secret, admits one machine, and ends in {} minutes. As root, \
            --install instead of --run makes it a service.\n{limit}\
         uptimemesh join {join} --run\n\
         Another one: {MORE}\n\n",
        JOIN_TTL_S / 60
    )
}

/// Calls the server at each of these URLs at once, from this machine. It answers where it proves itself by this
/// authority.
fn try_addresses(urls: &[String], authority: &str) -> Vec<Address> {
    let calls: Vec<_> = urls
        .iter()
        .map(|url| {
            let (at, authority) = (url.clone(), authority.to_string());
            let (sender, answer) = std::sync::mpsc::channel();
            let call = move || {
                let _ = sender.send(answers(at, authority));
            };
            // Without a thread no answer comes.
            let _ = spawn("try-address", None, call);
            (url.clone(), answer)
        })
        .collect();
    calls.into_iter().map(|(url, answer)| Address { url, answers: answer.recv().unwrap_or(false) }).collect()
}

fn answers(url: String, authority: String) -> bool {
    let Ok(mut api) = Api::with(&[url], Some(Trust::Pinned(vec![authority])), None) else { return false };
    api.limit(ANSWER_TIME, CONNECT_TIME);
    api.reach().is_ok()
}
