//! Headers by which a node signs a call, for both ends of the wire. `crypto::signature::NodeCall` defines the signed
//! message.

use super::node_runs::AgentRun;

/// The lease token of the node, which names it.
pub const LEASE_TOKEN: &str = "X-UptimeMesh-Lease-Token";
/// Epoch milliseconds at which the node signed.
pub const SIGNED_AT: &str = "X-UptimeMesh-Signed-At";
/// The run of the agent, formatted by [`run_text`]; optional.
pub const RUN: &str = "X-UptimeMesh-Run";
/// The signature in base64.
pub const SIGNATURE: &str = "X-UptimeMesh-Signature";

/// A run in the format of its header: `<id>/<boot>`, where the boot may be empty.
pub fn run_text(run: &AgentRun) -> String {
    format!("{}/{}", run.id, run.boot)
}

/// Parses the header of a run; `None` if it is malformed.
pub fn parse_run(text: &str) -> Option<AgentRun> {
    let (id, boot) = text.split_once('/')?;
    Some(AgentRun { id: id.to_string(), boot: boot.to_string() }).filter(AgentRun::is_sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_as_it_is_written() {
        for (id, boot) in [("a1", "b2"), ("a1", "")] {
            let run = AgentRun { id: id.into(), boot: boot.into() };
            assert_eq!(parse_run(&run_text(&run)), Some(run));
        }
        for bad in ["", "a1", "/b", "a/b/c", "a b/c", "a/b\u{e9}", &format!("{}/", "a".repeat(65))] {
            assert_eq!(parse_run(bad), None, "{bad}");
        }
    }
}
