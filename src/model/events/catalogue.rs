//! Every event that the server records: a row with its category, name, level, fields and one sentence.

use super::NewEvent;
use crate::model::Object;
use crate::model::words::words;
use serde_json::Value;
use std::fmt::Write;

words! {
    /// A category that only the server writes into.
    pub enum Category {
        /// `auth`
        Auth = "auth",
        /// `backups`
        Backups = "backups",
        /// `cluster`
        Cluster = "cluster",
        /// `endpoints`
        Endpoints = "endpoints",
        /// `etcd`
        Etcd = "etcd",
        /// `nodes`
        Nodes = "nodes",
        /// `replicas`
        Replicas = "replicas",
        /// `router_assignments`
        RouterAssignments = "router_assignments",
        /// `scheduler`
        Scheduler = "scheduler",
        /// `services`
        Services = "services",
        /// `settings`
        Settings = "settings",
        /// `support`
        Support = "support",
        /// `updates`
        Updates = "updates",
        /// `wireguard`
        Wireguard = "wireguard",
    }
}

words! {
    /// Severity of an event.
    pub enum Level {
        /// An action succeeded.
        Info = "INFO",
        /// Something needs attention.
        Warning = "WARNING",
        /// Something is broken.
        Error = "ERROR",
    }
}

/// A kind of event: everything except the values of its fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kind {
    /// Its category.
    pub category: Category,
    /// Its name, a noun and a verb: `node.cordon`.
    pub name: &'static str,
    /// Its level.
    pub level: Level,
    /// The names of its fields; one that ends in `?` may be absent.
    pub fields: &'static [&'static str],
    /// One sentence about what happened.
    pub says: &'static str,
}

impl Kind {
    /// An event of this kind. `fields` is a JSON object with the fields of this kind; debug builds refuse any other.
    pub fn with(self, fields: Value) -> NewEvent {
        let fields = match fields {
            Value::Object(map) => map,
            _ => Object::new(),
        };
        if cfg!(debug_assertions) {
            assert_eq!(self.mismatch(&fields), None, "fields of {} in src/model/events/catalogue.rs", self.name);
        }
        NewEvent {
            id: None,
            category: self.category.as_str().to_string(),
            name: self.name.to_string(),
            level: self.level.as_str().to_string(),
            fields,
        }
    }

    /// The last part of its name: `cordon`.
    pub fn verb(self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// Names a field that is missing or unexpected.
    fn mismatch(self, given: &Object) -> Option<String> {
        let missing = self.fields.iter().find(|name| !name.ends_with('?') && !given.contains_key(**name));
        let is_listed = |name: &&String| self.fields.iter().any(|listed| listed.trim_end_matches('?') == name.as_str());
        let unlisted = given.keys().find(|name| !is_listed(name));
        missing.map(|name| format!("{name} is missing")).or(unlisted.map(|name| format!("{name} is not listed")))
    }
}

/// Declares a constant for each kind, and a list of them.
macro_rules! kinds {
    ($($constant:ident = $category:ident $name:literal $level:ident [$($field:literal),*] $says:literal;)*) => {
        $(
            #[doc = $says]
            pub const $constant: Kind = Kind {
                category: Category::$category,
                name: $name,
                level: Level::$level,
                fields: &[$($field),*],
                says: $says,
            };
        )*

        /// Every kind of event that the server records.
        pub const ALL: &[Kind] = &[$($constant),*];
    };
}

kinds! {
    API_TOKEN_CREATE = Auth "api_token.create" Info ["token_id", "name", "owner", "role", "expires_at"]
        "A user created an API token.";
    API_TOKEN_DELETE = Auth "api_token.delete" Info ["token_id", "name", "owner"]
        "An API token was revoked.";
    AUTH_LOCAL_USE = Auth "auth.local_use" Info []
        "The local credential of the server's machine was used for the first time since the start.";
    AUTH_SIGN_IN = Auth "auth.sign_in" Info ["username", "session_id"]
        "A user signed in.";
    AUTH_SIGN_IN_FAILED = Auth "auth.sign_in_failed" Warning ["username"]
        "A sign-in failed; `username` is null where no user has the name.";
    AUTH_SIGN_OUT = Auth "auth.sign_out" Info ["username", "session_id"]
        "A user signed out.";
    PASSWORD_CHANGE = Auth "password.change" Info ["username"]
        "A user changed their own password; their other sessions ended.";
    SESSION_REVOKE = Auth "session.revoke" Info ["username", "session_id"]
        "A session was ended from elsewhere.";
    USER_CREATE = Auth "user.create" Info ["username", "role"]
        "An admin created a user.";
    USER_DELETE = Auth "user.delete" Warning ["username", "role"]
        "An admin deleted a user, whose sessions and API tokens ended.";
    USER_RESET_PASSWORD = Auth "user.reset_password" Warning ["username", "created"]
        "A password was reset on the server's own machine; `created` is true if this created the user.";
    USER_ROLE = Auth "user.role" Info ["username", "from", "to"]
        "An admin changed the role of a user, whose sessions ended.";
    USER_SET_PASSWORD = Auth "user.set_password" Warning ["username"]
        "An admin set the password of another user, whose sessions ended.";

    BACKUP_CREATE = Backups "backup.create" Info ["backup_id", "kind", "bytes", "encrypted"]
        "A backup was created.";
    BACKUP_DELETE = Backups "backup.delete" Warning ["backup_id", "kind"]
        "A backup was deleted.";
    BACKUP_DOWNLOAD = Backups "backup.download" Warning ["backup_id", "encrypted"]
        "A backup was downloaded.";
    BACKUP_DRILL_FAILED = Backups "backup.drill_failed" Error ["backup_id", "error"]
        "The newest backup could not be restored in a drill.";
    BACKUP_DRILL_PASSED = Backups "backup.drill_passed" Info ["backup_id", "rows"]
        "The newest backup was restored in a drill; `rows` is the number of database rows in it.";
    BACKUP_FAILED = Backups "backup.failed" Error ["error"]
        "A backup could not be created.";
    BACKUP_RESTORED = Backups "backup.restored" Warning
        ["backup_id", "created_at", "restored_at", "sessions_ended", "join_tokens_ended"]
        "The server started from a restored backup; all sessions and unused join tokens ended.";

    CA_DROP_PREVIOUS = Cluster "ca.drop_previous" Warning ["issuing_fingerprint"]
        "An admin ended the trust in the previous certificate authority.";
    CA_ROTATE = Cluster "ca.rotate" Warning ["issuing_fingerprint"]
        "An admin rotated the certificate authority; `issuing_fingerprint` is that of the previous one.";
    CERTIFICATE_OUTSIDE_DATES = Cluster "certificate.outside_dates" Warning
        ["what", "fingerprint", "from", "until", "made_again"]
        "At its start the server found an authority or certificate that is expired or not yet valid.";
    CLUSTER_BOOTSTRAP = Cluster "cluster.bootstrap" Info []
        "The cluster was bootstrapped for the first time.";
    JOIN_TOKEN_CREATE = Cluster "join_token.create" Info ["role", "token_id", "expires_at"]
        "A join token was created.";
    JOIN_TOKEN_DELETE = Cluster "join_token.delete" Info ["token_id"]
        "A join token was revoked.";
    NODE_JOIN = Cluster "node.join" Info ["node_id", "name", "role", "token_id"]
        "A machine joined as a new node.";
    NODE_REJOIN = Cluster "node.rejoin" Info ["node_id", "name", "role", "token_id"]
        "A known node joined again and has a new certificate.";
    NODE_REJOIN_REPLACING = Cluster "node.rejoin" Warning ["node_id", "name", "role", "token_id", "replaced"]
        "A machine with another key joined as a known node and replaced the machine that had its identity.";
    NODE_RENEW = Cluster "node.renew" Info ["node_id"]
        "A node renewed its certificate.";
    PROXY_UNNAMED = Cluster "proxy.unnamed" Warning ["proxy", "word", "requests"]
        "A trusted proxy forwards requests without the address of the client.";

    ENDPOINT_CREATE = Endpoints "endpoint.create" Info ["endpoint_id", "replica_id"]
        "An endpoint was created.";
    ENDPOINT_DELETE = Endpoints "endpoint.delete" Info ["endpoint_id", "replica_id"]
        "An endpoint was deleted.";
    ENDPOINT_UPDATE = Endpoints "endpoint.update" Info ["endpoint_id", "healthy"]
        "A health check of an endpoint was reported.";

    SNAPSHOT_COMPLETED = Etcd "snapshot.completed" Info ["snapshot_id", "location"]
        "A requested etcd snapshot is complete.";
    SNAPSHOT_DELETED = Etcd "snapshot.deleted" Info ["snapshot_id", "status"]
        "The record of a finished etcd snapshot was deleted.";
    SNAPSHOT_FAILED = Etcd "snapshot.failed" Info ["snapshot_id", "location"]
        "A requested etcd snapshot failed.";
    SNAPSHOT_REQUESTED = Etcd "snapshot.requested" Info ["snapshot_id", "requested_by"]
        "An etcd snapshot was requested.";
    SNAPSHOT_RUNNING = Etcd "snapshot.running" Info ["snapshot_id", "location"]
        "Work on a requested etcd snapshot began.";

    NODE_CORDON = Nodes "node.cordon" Info ["node_id"]
        "A node was cordoned: new replicas stay away, running ones move.";
    NODE_CREATE = Nodes "node.create" Info ["node_id", "name"]
        "A node was created that has not joined yet.";
    NODE_DELETE = Nodes "node.delete" Warning ["node_id", "name", "forced", "replicas", "router_assignments"]
        "A node and its `router_assignments` were deleted; its `replicas` were left to the scheduler.";
    NODE_DRAIN = Nodes "node.drain" Info ["node_id"]
        "A drain of a node began: all replicas on it move.";
    NODE_DRAIN_BLOCKED = Nodes "node.drain_blocked" Warning ["node_id", "left", "replicas"]
        "A drain cannot continue; `replicas` lists up to 20 replicas that cannot move, each with the reason.";
    NODE_DRAINED = Nodes "node.drained" Info ["node_id", "left"]
        "A drain is complete: no replica is left on the node.";
    NODE_FORGET = Nodes "node.forget" Warning ["node_id", "name", "forced", "replicas", "router_assignments"]
        "The server deleted a node that was dead for as long as the setting `node_forget_after_days` allows.";
    NODE_KEEP_RUN = Nodes "node.keep_run" Info ["node_id", "run", "refused"]
        "An operator chose which of two machines with one identity stays.";
    NODE_LEASE_ALIVE = Nodes "node.lease.alive" Info ["node_id", "from", "to", "heartbeat_at"]
        "A node is heard again.";
    NODE_LEASE_DEAD = Nodes "node.lease.dead" Error ["node_id", "from", "to", "heartbeat_at"]
        "A node stayed silent after its lease expired, and counts as dead.";
    NODE_LEASE_STALE = Nodes "node.lease.stale" Warning ["node_id", "from", "to", "heartbeat_at"]
        "The lease of a node expired without a heartbeat.";
    NODE_REBOOT_MARKER = Nodes "node.reboot_marker" Info ["node_id"]
        "A reboot of a node was requested.";
    NODE_SUSPECT = Nodes "node.suspect" Warning ["node_id", "since"]
        "The waiting call of a node was reset or ended, and it did not call again: nothing is newly placed there.";
    NODE_TWO_HOLDERS = Nodes "node.two_holders" Warning ["node_id", "kept", "refused"]
        "Two machines send heartbeats with one identity; the later one is refused until an operator decides.";
    NODE_UNCORDON = Nodes "node.uncordon" Info ["node_id"]
        "A node takes replicas again; a drain of it ended.";
    NODE_UNSUSPECT = Nodes "node.unsuspect" Info ["node_id"]
        "A suspect node called again.";
    NODE_UPDATE = Nodes "node.update" Info ["node_id"]
        "Fields of a node were changed.";

    REPLICA_CREATE = Replicas "replica.create" Info ["replica_id", "service_id", "node_id"]
        "A client created a replica.";
    REPLICA_DELETE = Replicas "replica.delete" Info ["replica_id", "service_id"]
        "A client deleted a replica and its endpoints.";
    REPLICA_MOVE = Replicas "replica.move" Info ["replica_id", "target_node_id", "source_node_id", "by"]
        "A user moved a replica to another node.";
    REPLICA_RESTART = Replicas "replica.restart" Info ["replica_id"]
        "A restart of a replica was requested.";
    REPLICA_RESTORE = Replicas "replica.restore" Info ["replica_id", "snapshot_id"]
        "A restore of a replica's data was requested; `snapshot_id` is null for the newest snapshot.";
    REPLICA_SNAPSHOT = Replicas "replica.snapshot" Info ["replica_id"]
        "A snapshot of a replica's data was requested.";
    REPLICA_STATE = Replicas "replica.state" Info
        ["replica_id", "service_id", "node_id", "state", "message", "exit"]
        "A node reported that a replica has completed, or is healthy after trouble.";
    REPLICA_STATE_SICK = Replicas "replica.state" Warning
        ["replica_id", "service_id", "node_id", "state", "message", "exit"]
        "A node reported that a replica is unhealthy, has failed, was refused, or ends again and again.";
    REPLICA_UPDATE = Replicas "replica.update" Info ["replica_id", "service_id"]
        "The desired state or the status of a replica was changed.";

    ROUTER_ASSIGNMENT_CREATE = RouterAssignments "router_assignment.create" Info ["assignment_id", "node_id"]
        "A router assignment was created.";
    ROUTER_ASSIGNMENT_DELETE = RouterAssignments "router_assignment.delete" Info ["assignment_id", "node_id"]
        "A router assignment was deleted.";

    SCHEDULER_BRAKE_OFF = Scheduler "scheduler.brake_off" Info []
        "The scheduler's brake was released: replicas of silent nodes move again.";
    SCHEDULER_BRAKE_ON = Scheduler "scheduler.brake_on" Error ["nodes", "silent", "reason"]
        "Many nodes fell silent at once, so the scheduler moves nothing away from silent nodes.";
    SCHEDULER_GRACE = Scheduler "scheduler.grace" Info ["silent", "seconds"]
        "After a start of the server, replicas of silent nodes stay for this number of seconds.";
    SCHEDULER_RECONCILE = Scheduler "scheduler.reconcile" Info
        ["service_id", "desired_replicas", "actual_replicas", "replicas_before", "action_count", "warning_count",
         "actions", "by"]
        "The scheduler applied a plan to a service; `actions` counts its actions by name.";
    SCHEDULER_ROLLOUT_LATE = Scheduler "scheduler.rollout_late" Warning
        ["service_id", "generation", "outdated", "pending", "waiting_since", "waiting_seconds"]
        "A rollout waits longer than the setting allows for replicas that do not report the new generation.";

    SERVICE_CREATE = Services "service.create" Info ["service_id", "name", "by"]
        "A service was created.";
    SERVICE_DELETE = Services "service.delete" Warning ["service_id", "name", "forced", "replicas", "by"]
        "A service was deleted; `replicas` is the number of replicas deleted with it.";
    SERVICE_ROLLBACK = Services "service.rollback" Info ["service_id", "generation", "target_generation", "by"]
        "The spec of an earlier generation was restored as a new generation.";
    SERVICE_ROLLOUT = Services "service.rollout" Info ["service_id", "generation", "by"]
        "A restart of all replicas of a service was requested under a new generation.";
    SERVICE_RUN = Services "service.run" Info ["service_id", "by"]
        "Nodes may run the replicas of a service that is older than their ability to do so.";
    SERVICE_UPDATE = Services "service.update" Info ["service_id", "generation", "by"]
        "The description or the spec of a service was changed.";

    SETTING_UPDATE = Settings "setting.update" Info ["key", "by"]
        "A cluster setting was changed.";

    SUPPORT_BUNDLE_COMPLETED = Support "support_bundle.completed" Info ["bundle_id", "path"]
        "A requested support bundle is complete.";
    SUPPORT_BUNDLE_DELETED = Support "support_bundle.deleted" Info ["bundle_id", "status"]
        "A finished support bundle was deleted.";
    SUPPORT_BUNDLE_DOWNLOAD = Support "support_bundle.download" Info ["bundle_id", "bytes"]
        "A support bundle was downloaded.";
    SUPPORT_BUNDLE_FAILED = Support "support_bundle.failed" Info ["bundle_id", "path?", "error?"]
        "A requested support bundle failed; `error` is given by the server, `path` where an agent reported it.";
    SUPPORT_BUNDLE_PRUNED = Support "support_bundle.pruned" Info ["bundle_id", "kept"]
        "The server deleted an old support bundle; `kept` is the number of bundles it keeps at most.";
    SUPPORT_BUNDLE_REQUESTED = Support "support_bundle.requested" Info ["bundle_id", "requested_by"]
        "A support bundle was requested.";
    SUPPORT_BUNDLE_RUNNING = Support "support_bundle.running" Info ["bundle_id", "path"]
        "Work on a requested support bundle began.";

    UPDATE_CANCELLED = Updates "update.cancelled" Info ["update_id", "version", "channel", "ring"]
        "A fleet update was cancelled; updated nodes keep the new version.";
    UPDATE_COMPLETED = Updates "update.completed" Info ["update_id", "version", "channel", "ring"]
        "A fleet update is complete on all rings.";
    UPDATE_HALTED = Updates "update.halted" Warning ["update_id", "ring", "reason"]
        "A fleet update halted because too many nodes failed to update or were lost.";
    UPDATE_PAUSED = Updates "update.paused" Info ["update_id", "version", "channel", "ring"]
        "A fleet update was paused.";
    UPDATE_RESUMED = Updates "update.resumed" Info ["update_id", "version", "channel", "ring"]
        "A fleet update was resumed; nodes that failed try again.";
    UPDATE_RING = Updates "update.ring" Info ["update_id", "version", "channel", "ring"]
        "A fleet update reached its next ring.";
    UPDATE_STARTED = Updates "update.started" Info ["update_id", "version", "channel", "ring"]
        "A fleet update was started.";

    NODE_ROTATE_KEYS = Wireguard "node.rotate_keys" Info ["node_id"]
        "New WireGuard keys were requested of a node.";
}

/// The catalogue as a Markdown table.
pub fn markdown() -> String {
    let mut text = "| Event | Category | Level | Fields | Meaning |\n|---|---|---|---|---|\n".to_string();
    for kind in ALL {
        let field = |name: &&str| match name.strip_suffix('?') {
            Some(name) => format!("`{name}` (optional)"),
            None => format!("`{name}`"),
        };
        let fields: Vec<String> = kind.fields.iter().map(field).collect();
        let (category, level) = (kind.category.as_str(), kind.level.as_str());
        let _ = writeln!(text, "| `{}` | {category} | {level} | {} | {} |", kind.name, fields.join(", "), kind.says);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_has_the_fields_of_its_kind_and_no_others() {
        let mismatch = |kind: Kind, fields: Value| kind.mismatch(fields.as_object().expect("an object"));
        assert_eq!(mismatch(NODE_CREATE, json!({ "node_id": "a", "name": "a" })), None);
        assert_eq!(mismatch(NODE_CREATE, json!({ "node_id": "a" })), Some("name is missing".into()));
        let typo = mismatch(NODE_CORDON, json!({ "node_id": "a", "nodes_id": "a" }));
        assert_eq!(typo, Some("nodes_id is not listed".into()));
        for fields in [json!({ "bundle_id": "b", "error": "e" }), json!({ "bundle_id": "b", "path": null })] {
            assert_eq!(mismatch(SUPPORT_BUNDLE_FAILED, fields), None);
        }
        let fields = json!({ "node_id": "a", "from": "stale", "to": "dead", "heartbeat_at": null });
        let event = NODE_LEASE_DEAD.with(fields);
        assert_eq!((event.category.as_str(), event.level.as_str()), ("nodes", "ERROR"));
        assert_eq!(NODE_LEASE_DEAD.verb(), "dead");
    }

    #[test]
    fn the_catalogue_is_sorted_and_its_sentences_are_sentences() {
        assert!(Category::WORDS.is_sorted());
        let place = |kind: &Kind| (kind.category.as_str(), kind.name, kind.level.as_str());
        let places: Vec<(&str, &str, &str)> = ALL.iter().map(place).collect();
        for pair in places.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
        for kind in ALL {
            let begins = kind.says.starts_with(|c: char| c.is_ascii_uppercase());
            assert!(begins && kind.says.ends_with('.') && kind.says.is_ascii(), "{}: {}", kind.name, kind.says);
        }
    }
}
