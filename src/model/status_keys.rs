//! Every key of a node's status that the program writes or reads: its owner, its form, its readers, and a sentence. A
//! status may have any other keys too, which a node reports and people read.

use std::fmt::Write;

/// Owner of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The node, by its heartbeats.
    Node,
    /// An operator, by an action on the node.
    Operator,
    /// The server itself.
    Server,
}

/// A part of the program that uses a key individually, and not only with all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// `uptimemesh node list` and `drain`.
    Cli,
    /// The doctor of a control plane.
    Doctor,
    /// The load history of the last day.
    Load,
    /// The pages.
    Pages,
    /// The scheduler.
    Scheduler,
    /// Fleet updates.
    Updates,
    /// The overview of tunnels.
    Wireguard,
}

/// A key of a status.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its owner, the only one who may write it.
    pub owner: Owner,
    /// Type and unit of its value.
    pub form: &'static str,
    /// Its readers.
    pub readers: &'static [Reader],
    /// Its meaning, in one sentence.
    pub says: &'static str,
}

/// Declares a constant for the name of each key, and a list of the keys.
macro_rules! keys {
    ($($constant:ident = $name:literal $owner:ident $form:literal [$($reader:ident),*] $says:literal;)*) => {
        $(
            #[doc = $says]
            pub const $constant: &str = $name;
        )*

        /// Every key that the program writes or reads.
        pub const ALL: &[Key] = &[$(
            Key { name: $name, owner: Owner::$owner, form: $form, readers: &[$(Reader::$reader),*], says: $says },
        )*];
    };
}

keys! {
    ARCHITECTURE = "architecture" Node "text" [Pages]
        "Architecture of the processor, such as `x86_64`.";
    CAPACITY = "capacity" Node
        "object: `cpu_millis`, `system_cpu_millis` (thousandths of a core), `memory_mb`, `system_memory_mb` (MiB)"
        [Pages, Scheduler]
        "Capacity of the machine, and the part that it needs itself.";
    CLOCK_OFFSET_SECONDS = "clock_offset_seconds" Node "integer, seconds" [Doctor]
        "Correction that the agent adds to its clock to match the server.";
    CORDONED_AT = "cordoned_at" Operator "time" []
        "Time of the last cordon.";
    CPUS = "cpus" Node "integer" []
        "Number of processors.";
    DISK_AVAILABLE_BYTES = "disk_available_bytes" Node "integer, bytes" [Load, Pages]
        "Free space on the disk of the data directory.";
    DISK_TOTAL_BYTES = "disk_total_bytes" Node "integer, bytes" [Load, Pages]
        "Size of the disk of the data directory.";
    DRAIN_REQUESTED_AT = "drain_requested_at" Operator "time" []
        "Time of the last drain request.";
    DRAIN_STATE = "drain_state" Server "`draining`, `blocked` or `drained`" [Cli, Pages, Scheduler]
        "Progress of the drain; absent after an uncordon.";
    DRAINING = "draining" Operator "boolean" [Cli, Pages, Scheduler]
        "True if all replicas should move away.";
    ENROLLED_AT = "enrolled_at" Server "time" []
        "Time of the last join.";
    KERNEL = "kernel" Node "text" [Pages]
        "Release of the kernel.";
    LAST_HEARTBEAT_SIGNED_AT = "last_heartbeat_signed_at" Server "integer, epoch seconds" []
        "Time at which the last accepted heartbeat was signed.";
    LOAD_1M = "load_1m" Node "number" [Cli, Load, Pages]
        "Load average of the last minute.";
    MEMORY_AVAILABLE_BYTES = "memory_available_bytes" Node "integer, bytes" [Load, Pages]
        "Memory that programs can still get.";
    MEMORY_TOTAL_BYTES = "memory_total_bytes" Node "integer, bytes" [Load, Pages]
        "Memory of the machine.";
    NODE_ROLE = "node_role" Server "`core`, `worker` or `gateway`" []
        "Role of the join token that the node used last.";
    READY = "ready" Node "boolean" [Cli, Pages, Scheduler]
        "False if the node cannot run replicas.";
    REBOOT_REQUESTED_AT = "reboot_requested_at" Operator "time" [Pages]
        "Time of the last reboot request.";
    RUNNER = "runner" Node "object: `drivers` (list of `process`, `container`), `limits`, `rights` (texts)" [Scheduler]
        "Abilities of the node's runner; absent if the node runs nothing itself.";
    SCHEDULABLE = "schedulable" Operator "boolean" [Cli, Pages, Scheduler]
        "False if the node is cordoned.";
    UNCORDONED_AT = "uncordoned_at" Operator "time" []
        "Time of the last uncordon.";
    UPDATE = "update" Node "object: `id`, `state`, `from`, `to`, `reason`" [Updates]
        "Last run of the node's updater.";
    UPTIME_SECONDS = "uptime_seconds" Node "integer, seconds" []
        "Time since the machine started.";
    VERSION = "version" Node "text" [Cli, Doctor, Updates]
        "Version of the agent.";
    WG_ACTIVE_ROUTE = "wg_active_route" Node "text or object" [Pages, Wireguard]
        "Tunnel that carries traffic.";
    WG_FAILOVER_STATE = "wg_failover_state" Node "text or object" [Pages, Wireguard]
        "State of the failover between the tunnels.";
    WG_KEY_ROTATION_REQUESTED_AT = "wg_key_rotation_requested_at" Operator "time" [Pages]
        "Time of the last request for new WireGuard keys.";
    WG_PRIMARY_TUNNEL = "wg_primary_tunnel" Node "text or object" [Pages, Wireguard]
        "Tunnel to the primary router.";
    WG_SECONDARY_TUNNEL = "wg_secondary_tunnel" Node "text or object" [Pages, Wireguard]
        "Tunnel to the secondary router.";
}

/// True if the key belongs to the operator or the server: a node's report of it is ignored.
pub fn is_reserved(key: &str) -> bool {
    ALL.iter().any(|known| known.name == key && known.owner != Owner::Node)
}

/// Keys that a node reports and that affect placement.
pub fn placement() -> impl Iterator<Item = &'static str> {
    ALL.iter().filter(|key| key.owner == Owner::Node && key.readers.contains(&Reader::Scheduler)).map(|key| key.name)
}

/// The keys as a Markdown table.
pub fn markdown() -> String {
    let mut text = "| Key | Owner | Form | Read by | Meaning |\n|---|---|---|---|---|\n".to_string();
    for key in ALL {
        let readers: Vec<String> = key.readers.iter().map(|reader| format!("{reader:?}").to_lowercase()).collect();
        let owner = format!("{:?}", key.owner).to_lowercase();
        let _ = writeln!(text, "| `{}` | {owner} | {} | {} | {} |", key.name, key.form, readers.join(", "), key.says);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_decides_whose_word_is_taken() {
        assert!(is_reserved(SCHEDULABLE) && is_reserved(DRAIN_STATE) && is_reserved(LAST_HEARTBEAT_SIGNED_AT));
        assert!(!is_reserved(READY) && !is_reserved("of its own"));
        assert_eq!(placement().collect::<Vec<_>>(), [CAPACITY, READY, RUNNER]);
        assert!(ALL.is_sorted_by(|a, b| a.name < b.name));
    }
}
