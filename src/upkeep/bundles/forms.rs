//! Forms: which values a bundle shows, and of which it shows only the shape.
//!
//! A list of secrets is never complete, so this is a list of what is not secret: our own keys whose values have a
//! closed form, such as a number, a time, an id, one of a few words. Of everything else, which people or programs
//! wrote, a bundle shows the key's name and the value's kind and length. Inside foreign values nothing is shown,
//! whatever its key.

use crate::clock::Timestamp;
use crate::model::ids::is_id;
use crate::model::status_keys;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

/// Form of a value of ours.
pub enum Form {
    Number,
    Flag,
    /// An id by the contract's grammar.
    Id,
    /// A time, RFC 3339.
    Time,
    /// Hexadecimal digits and dashes: a fingerprint, a UUID, a digest.
    Hex,
    /// A version of a program or kernel.
    Version,
    /// An IP address, perhaps with a port.
    Address,
    /// `system`, or a kind with an id: `user:alice`.
    Actor,
    /// The name of an event, a category, a check: lower-case letters, dots, dashes and underscores.
    Name,
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// Certificates in PEM.
    Certificates,
    /// A sentence of this program, which may contain people's words.
    Sentence,
    /// An object with our keys; of any other key only the value's shape is shown.
    Object(&'static [(&'static str, Form)]),
    List(&'static Form),
    /// The first of these that fits.
    Either(&'static [Form]),
    /// An event; its form depends on the category, because only the server writes into its own categories.
    Event,
    /// A setting of the cluster or the server; its form depends on its name.
    Setting {
        key: &'static str,
        value: &'static str,
    },
}

use Form::{
    Actor, Address, Certificates, Either, Flag, Hex, Id, List, Name, Number, Object, Sentence, Time, Version, Word,
};

const ROLES: Form = Word(&["core", "worker", "gateway"]);
const PEOPLES_ROLE: Form = Word(&["viewer", "operator", "admin"]);
const LEASE: Form = Word(&["alive", "stale", "dead", "unknown", "suspect"]);
const STATE: Form =
    Word(&["running", "stopped", "pending", "starting", "stopping", "failed", "crashloop", "degraded", "absent"]);
const UPDATE: Form = Word(&["running", "updated", "failed", "rolled_back", "rolled_back_unhealthy", "stuck"]);
pub const LEVEL: &[&str] = &["debug", "info", "warning", "error", "critical"];

const NODE_STATUS: Form = Object(&[
    (status_keys::ARCHITECTURE, Word(&["x86_64", "aarch64", "arm", "armv7l", "riscv64"])),
    (
        status_keys::CAPACITY,
        Object(&[
            ("cpu_millis", Number),
            ("memory_mb", Number),
            ("system_cpu_millis", Number),
            ("system_memory_mb", Number),
        ]),
    ),
    (status_keys::CLOCK_OFFSET_SECONDS, Number),
    (status_keys::CORDONED_AT, Time),
    (status_keys::CPUS, Number),
    (status_keys::DISK_AVAILABLE_BYTES, Number),
    (status_keys::DISK_TOTAL_BYTES, Number),
    (status_keys::DRAIN_REQUESTED_AT, Time),
    (status_keys::DRAIN_STATE, Word(&["draining", "blocked", "drained"])),
    (status_keys::DRAINING, Flag),
    (status_keys::ENROLLED_AT, Time),
    (status_keys::KERNEL, Version),
    (status_keys::LAST_HEARTBEAT_SIGNED_AT, Number),
    (status_keys::LOAD_1M, Number),
    (status_keys::MEMORY_AVAILABLE_BYTES, Number),
    (status_keys::MEMORY_TOTAL_BYTES, Number),
    (status_keys::NODE_ROLE, ROLES),
    (status_keys::READY, Flag),
    (status_keys::REBOOT_REQUESTED_AT, Time),
    (status_keys::SCHEDULABLE, Flag),
    (status_keys::UNCORDONED_AT, Time),
    (
        status_keys::UPDATE,
        Object(&[
            ("state", UPDATE),
            ("from", Version),
            ("to", Version),
            ("channel", Word(&["stable"])),
            ("id", Id),
            ("update_id", Id),
            ("at", Time),
        ]),
    ),
    (status_keys::UPTIME_SECONDS, Number),
    (status_keys::VERSION, Version),
    (status_keys::WG_KEY_ROTATION_REQUESTED_AT, Time),
]);

const NODE: Form = Object(&[
    ("id", Id),
    ("roles", List(&ROLES)),
    ("mesh_ip", Address),
    ("status", NODE_STATUS),
    ("capacity", Object(&[("cpu_millis", Number), ("memory_mb", Number)])),
    (
        "reserved",
        Object(&[("cpu_millis", Number), ("cpu_percent", Number), ("memory_mb", Number), ("memory_percent", Number)]),
    ),
    ("heartbeat_at", Time),
    ("lease_expires_at", Time),
    ("suspect_since", Time),
    ("identity_fingerprint", Hex),
    ("identity_expires_at", Time),
    ("created_at", Time),
    ("updated_at", Time),
]);

const SPEC: Form = Object(&[
    (
        "scheduling",
        Object(&[
            ("desired_replicas", Number),
            ("mode", Word(&["replicated", "per_node"])),
            ("anti_affinity", Either(&[Flag, Word(&["hard"])])),
            ("reschedule_unhealthy", Flag),
            ("lost_after_seconds", Number),
        ]),
    ),
    ("replicas_desired", Number),
    ("rolling_update", Object(&[("max_surge", Number), ("max_unavailable", Number)])),
    ("resources", Object(&[("cpu_millis", Number), ("memory_mb", Number)])),
    ("ports", List(&Either(&[Number, Object(&[("host_port", Number), ("protocol", Word(&["tcp", "udp"]))])]))),
    (
        "placement",
        Object(&[("pinned_replicas", List(&Object(&[("replica_id", Id), ("node_id", Id), ("desired_state", STATE)])))]),
    ),
    ("rollout_requested_at", Time),
    ("rollback_requested_at", Time),
]);

const REPLICA: Form = Object(&[
    ("id", Id),
    ("service_id", Id),
    ("node_id", Id),
    ("desired_state", STATE),
    (
        "status",
        Object(&[
            ("healthy", Flag),
            ("state", STATE),
            ("applied_generation", Number),
            ("desired_generation", Number),
            ("update_queued_at", Time),
            ("update_state", Word(&["pending", "running", "completed", "failed"])),
            ("managed_by", Word(&["scheduler"])),
            ("last_restart_at", Time),
            ("last_snapshot_at", Time),
            ("last_restore_at", Time),
            ("last_restore_snapshot_id", Id),
        ]),
    ),
    (
        "placement",
        Object(&[
            ("action", Name),
            ("reason", Sentence),
            ("at", Time),
            ("from_node_id", Id),
            ("failures", Number),
            ("failed_on", List(&Id)),
        ]),
    ),
    ("created_at", Time),
    ("updated_at", Time),
]);

const RUN: Form = Object(&[
    ("id", Id),
    ("status", Word(&["pending", "running", "completed", "failed"])),
    ("with_values", Flag),
    ("created_at", Time),
    ("updated_at", Time),
]);

/// Fields of the server's own events.
const EVENT_FIELDS: Form = Object(&[
    ("action_count", Number),
    ("actual_replicas", Number),
    ("applied_generation", Number),
    ("assignment_id", Id),
    ("backup_id", Id),
    ("bundle_id", Id),
    ("bytes", Number),
    ("desired_replicas", Number),
    ("encrypted", Flag),
    ("endpoint_id", Id),
    ("expires_at", Time),
    ("fleet", Number),
    ("forced", Flag),
    ("generation", Number),
    ("healthy", Flag),
    ("identity_fingerprint", Hex),
    ("issuing_fingerprint", Hex),
    ("join_tokens_ended", Number),
    ("key", Name),
    ("kept", Number),
    ("left", Number),
    ("node_id", Id),
    ("replica_id", Id),
    ("proxy", Address),
    ("requests", Number),
    ("restored_at", Time),
    ("role", Either(&[ROLES, PEOPLES_ROLE])),
    ("rows", Number),
    ("seconds", Number),
    ("service_id", Id),
    ("session_id", Id),
    ("sessions_ended", Number),
    ("silent", Number),
    ("snapshot_id", Id),
    ("source_node_id", Id),
    ("status", Word(&["pending", "running", "completed", "failed"])),
    ("target_generation", Number),
    ("target_node_id", Id),
    ("token_id", Id),
    ("update_id", Id),
    ("username", Id),
    ("version", Version),
    ("warning_count", Number),
]);

/// An event that the server recorded.
pub const OWN_EVENT: Form = Object(&[
    ("id", Id),
    ("category", Name),
    ("name", Name),
    ("level", Word(LEVEL)),
    ("fields", EVENT_FIELDS),
    ("created_at", Time),
    ("updated_at", Time),
    ("actor", Actor),
    ("address", Address),
    ("request_id", Hex),
]);

/// An event that a client wrote.
pub const CLIENTS_EVENT: Form = Object(&[
    ("id", Hex),
    ("level", Word(LEVEL)),
    ("created_at", Time),
    ("updated_at", Time),
    ("actor", Actor),
    ("address", Address),
    ("request_id", Hex),
]);

/// The JSON files of a bundle, with their forms.
pub const PARTS: &[(&str, Form)] = &[
    ("doctor.json", List(&Object(&[("check", Name), ("level", Name), ("seen", Sentence), ("do", Sentence)]))),
    ("config.json", List(&Form::Setting { key: "setting", value: "is" })),
    ("cluster/nodes.json", List(&NODE)),
    (
        "cluster/leases.json",
        List(&Object(&[
            ("node_id", Id),
            ("roles", List(&ROLES)),
            ("heartbeat_at", Time),
            ("lease_expires_at", Time),
            ("lease_state", LEASE),
            ("suspect_since", Time),
        ])),
    ),
    (
        "cluster/services.json",
        List(&Object(&[
            ("id", Id),
            ("spec", SPEC),
            ("generation", Number),
            ("created_at", Time),
            ("updated_at", Time),
        ])),
    ),
    ("cluster/replicas.json", List(&REPLICA)),
    (
        "cluster/endpoints.json",
        List(&Object(&[
            ("id", Id),
            ("replica_id", Id),
            ("address", Address),
            ("port", Number),
            ("healthy", Flag),
            ("last_checked_at", Time),
            ("created_at", Time),
            ("updated_at", Time),
        ])),
    ),
    (
        "cluster/router-assignments.json",
        List(&Object(&[
            ("id", Id),
            ("node_id", Id),
            ("primary_router_id", Id),
            ("secondary_router_id", Id),
            ("created_at", Time),
            ("updated_at", Time),
        ])),
    ),
    ("cluster/settings.json", List(&Form::Setting { key: "key", value: "value" })),
    ("cluster/snapshots.json", List(&RUN)),
    ("cluster/support-bundles.json", List(&RUN)),
    (
        "cluster/users.json",
        List(&Object(&[
            ("name", Id),
            ("role", PEOPLES_ROLE),
            ("must_change_password", Flag),
            ("created_at", Time),
            ("updated_at", Time),
        ])),
    ),
    (
        "cluster/api-tokens.json",
        List(&Object(&[
            ("id", Id),
            ("owner", Id),
            ("role", PEOPLES_ROLE),
            ("expires_at", Time),
            ("last_used_at", Time),
            ("last_used_address", Address),
            ("created_at", Time),
            ("updated_at", Time),
        ])),
    ),
    (
        "cluster/join-tokens.json",
        List(&Object(&[
            ("id", Id),
            ("role", ROLES),
            ("node_id", Id),
            ("mesh_ip", Address),
            ("expires_at", Time),
            ("used_at", Time),
            ("used_by", Id),
            ("created_at", Time),
            ("updated_at", Time),
        ])),
    ),
    (
        "cluster/authority.json",
        Object(&[
            ("ca_cert_pem", Certificates),
            ("current", Object(&[("fingerprint", Hex), ("not_after", Time)])),
            ("previous", Object(&[("fingerprint", Hex), ("not_after", Time)])),
            ("server", Object(&[("fingerprint", Hex), ("not_after", Time)])),
            ("server_previous", Object(&[("fingerprint", Hex), ("not_after", Time)])),
            ("server_ca_cert_pem", Certificates),
            ("nodes", Number),
            ("nodes_up_to_date", Number),
        ]),
    ),
    (
        "cluster/scheduler.json",
        Object(&[("mode", Name), ("braked", Flag), ("waiting", Number), ("runs", Number), ("actions", Number)]),
    ),
    ("events.json", List(&Form::Event)),
];

/// Our fields of log lines. `sql` is one of this program's queries; its parameters are another field.
pub const LOG_FIELDS: &[(&str, Form)] = &[
    ("actor", Actor),
    ("address", Address),
    ("applied", Number),
    ("backup", Id),
    ("bundle_id", Id),
    ("bytes", Number),
    ("check", Name),
    ("days", Number),
    ("duration_ms", Number),
    ("encrypted", Flag),
    ("failures", Number),
    ("fingerprint", Hex),
    ("fleet", Number),
    ("for_s", Number),
    ("gone", Number),
    ("identity_fingerprint", Hex),
    ("lease_ttl_s", Number),
    ("lines", Number),
    ("method", Word(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])),
    ("node_id", Id),
    ("offset_s", Number),
    ("pass", Name),
    ("request_id", Hex),
    ("rows", Number),
    ("sessions", Number),
    ("silent", Number),
    ("sql", Sentence),
    ("status_code", Number),
    ("tokens", Number),
    ("update_id", Id),
    ("username", Id),
    ("version", Version),
];

/// Words in the paths of routes; every other part of a path may be private.
#[rustfmt::skip]
const PATH_WORDS: &[&str] = &[
    "add-node", "all", "api-tokens", "app.js", "apply", "auth", "backups", "bootstrap", "ca", "cancel", "certificates",
    "cluster", "cluster-settings", "cordon", "create", "delete", "docs", "download", "drain", "endpoints", "etcd",
    "events", "explain", "favicon.ico", "health", "heartbeat", "join", "join-tokens", "keep-run", "labels", "leases",
    "login", "logout", "logs", "me", "metrics", "mode", "move", "new-service", "node", "nodes", "openapi.json",
    "password", "pause", "plan", "previous", "rebalance", "reboot-marker", "reconcile", "relay", "renew", "replicas",
    "restart", "restore", "resume", "revisions", "revoke", "rollback", "rollout", "room", "rotate", "rotate-wg-keys",
    "router-assignments", "run", "runs", "scheduler", "self", "services", "sessions", "settings", "snapshot",
    "snapshots", "spec", "static", "status", "stream", "style.css", "support", "support-bundles", "theme", "token",
    "tokens", "ui", "uncordon", "updates", "users", "version", "wireguard", "work",
];

/// True for a word in the path of one of our routes.
pub fn is_path_word(part: &str) -> bool {
    PATH_WORDS.contains(&part)
}

/// True if a value matches a form that does not consist of others.
pub fn fits(value: &Value, form: &Form) -> bool {
    match (value, form) {
        (Value::Number(_), Number)
        | (Value::Bool(_), Flag)
        | (Value::Object(_), Object(_))
        | (Value::Array(_), List(_)) => true,
        (Value::String(text), form) => match form {
            Id => is_id(text),
            Time => Timestamp::parse(text).is_some(),
            Hex => {
                !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase() || b == b'-')
            }
            Version => is_version(text),
            Address => text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok(),
            Actor => is_actor(text),
            Name => is_name(text),
            Word(words) => words.iter().any(|word| word.eq_ignore_ascii_case(text)),
            Certificates => text.starts_with("-----BEGIN CERTIFICATE-----") && !text.contains("PRIVATE"),
            _ => false,
        },
        _ => false,
    }
}

/// True for lower-case letters, digits, dots, dashes and underscores.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

/// True for `2.0.0`, `6.1.0-18-amd64`: digits, a dot, a digit, and the usual rest of a version.
fn is_version(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+~-".contains(&b);
    let numbered = text.split_once('.').is_some_and(|(major, rest)| {
        !major.is_empty() && major.bytes().all(|b| b.is_ascii_digit()) && rest.starts_with(|c: char| c.is_ascii_digit())
    });
    text.len() <= 64 && numbered && text.bytes().all(plain)
}

/// True for `system`, `user:alice`, `token:ut-1 (alice)`.
fn is_actor(text: &str) -> bool {
    const KINDS: [&str; 5] = ["user", "token", "node", "join-token", "local"];
    let Some((kind, who)) = text.split_once(':') else { return is_name(text) };
    let (id, owner) = who.split_once(" (").map_or((who, None), |(id, owner)| (id, Some(owner)));
    KINDS.contains(&kind) && is_id(id) && owner.is_none_or(|owner| owner.strip_suffix(')').is_some_and(is_id))
}
