//! Sentences of the API's document that stand nowhere else: nouns, parameters, and body fields that no answer has.

use crate::model::events::catalogue;
use crate::model::status_keys;

/// The noun that a path is about, as the document groups its operations.
pub fn tag(path: &str) -> &str {
    let mut segments = path.split('/').skip(1);
    match (segments.next().unwrap_or_default(), segments.next()) {
        ("cluster", Some(noun @ ("ca" | "join-tokens" | "leases"))) | ("etcd", Some(noun)) => noun,
        ("" | "health" | "metrics" | "openapi.json" | "version", _) => "system",
        ("node", _) => "nodes",
        (noun, _) => noun,
    }
}

/// Every tag with its description.
pub fn tags() -> Vec<(&'static str, String)> {
    let mut all: Vec<(&str, String)> = TAGS.iter().map(|(name, says)| (*name, (*says).to_string())).collect();
    for (name, says) in &mut all {
        match *name {
            "events" => says.push_str(&format!("\n\n{}", catalogue::markdown())),
            "nodes" => says.push_str(&format!("\n\n{}", status_keys::markdown())),
            _ => {}
        }
    }
    all
}

/// Description of each noun.
const TAGS: &[(&str, &str)] = &[
    ("api-tokens", "Credentials of programs that act for a user."),
    ("auth", "Sign-in, the own password and the own sessions."),
    ("backups", "Backups of the server's data."),
    ("ca", "Certificate authorities and their rotation."),
    ("cluster", "Bootstrap, joining and heartbeats of nodes."),
    ("cluster-settings", "Settings of the whole cluster."),
    ("endpoints", "Addresses of replicas."),
    ("events", "Record of what happened. Events of the server:"),
    ("join-tokens", "Permissions for machines to join."),
    ("leases", "Leases of nodes, which heartbeats renew."),
    ("nodes", "Machines of the fleet. Known keys of their status:"),
    ("replicas", "Running copies of services."),
    ("router-assignments", "Routers of nodes."),
    ("scheduler", "Placement of replicas on nodes."),
    ("services", "Programs that run as replicas."),
    ("sessions", "Sessions of all users."),
    ("snapshots", "Requests for etcd snapshots."),
    ("support-bundles", "Archives for troubleshooting."),
    ("system", "The server itself."),
    ("updates", "Updates of the fleet, ring by ring."),
    ("users", "People who may sign in."),
    ("wireguard", "Tunnels of nodes."),
];

/// The sentence about a parameter or a body field, by its place and the names that lead to it. The first row that
/// fits counts.
pub fn field(path: &str, place: &str, at: &[String]) -> Option<&'static str> {
    let name = at.join(".");
    let fits = |row: &&Row| row.place == place && row.name == name && ["", tag(path), path].contains(&row.tag);
    FIELDS.iter().find(fits).map(|row| row.says)
}

/// A sentence about a field.
pub struct Row {
    /// `path`, `query`, `header` or `body`.
    pub place: &'static str,
    /// The noun that it is about, or the path; empty for all.
    pub tag: &'static str,
    /// Names from the outside in, with points between.
    pub name: &'static str,
    /// The sentence, with the unit.
    pub says: &'static str,
}

const fn row(place: &'static str, tag: &'static str, name: &'static str, says: &'static str) -> Row {
    Row { place, tag, name, says }
}

/// All fields that are described here. Other body fields are described by the property of the same name in the
/// answer's object.
pub const FIELDS: &[Row] = &[
    row("header", "", "Idempotency-Key", "Unique key of a request: within a day a repetition gets the same answer."),
    row("header", "", "If-Match", "Entity tags: the request is refused with 412 if the object has another version."),
    row(
        "header",
        "",
        "X-UptimeMesh-Run",
        "Run and boot of the agent, as RUN/BOOT: a copy of the identity on another machine is refused.",
    ),
    row("header", "", "If-None-Match", "Entity tags: the answer is 304 if the object still has one of these versions."),
    row("path", "", "assignment_id", "Id of the router assignment."),
    row("path", "", "backup_id", "Id of the backup."),
    row("path", "", "bundle_id", "Id of the support bundle."),
    row("path", "", "endpoint_id", "Id of the endpoint."),
    row("path", "", "key", "Key of the setting."),
    row("path", "", "name", "Name of the user."),
    row("path", "", "node_id", "Id of the node."),
    row("path", "", "replica_id", "Id of the replica."),
    row("path", "", "service_id", "Id of the service."),
    row("path", "", "session_id", "Id of the session."),
    row("path", "", "snapshot_id", "Id of the snapshot."),
    row("path", "auth", "token_id", "Id of the API token."),
    row("path", "api-tokens", "token_id", "Id of the API token."),
    row("path", "join-tokens", "token_id", "Id of the join token."),
    row("path", "", "update_id", "Id of the fleet update."),
    row("query", "services", "after", "Generation of the last revision of the previous page."),
    row("query", "/node/work", "after", "Version that the node has, as `EPOCH.VERSION`."),
    row("query", "", "after", "Id of the last object of the previous page."),
    row("query", "", "category", "Only events of this category."),
    row("query", "ca", "force", "True to leave nodes behind that do not trust the current authority yet."),
    row(
        "query",
        "nodes",
        "force",
        "True to delete its router assignments too; its replicas are left to the scheduler.",
    ),
    row("query", "services", "force", "True to delete the replicas of the service too."),
    row("query", "", "label", "Only nodes with this label, as `key=value`."),
    row("query", "", "lease_state", "Only nodes whose lease has this state."),
    row("query", "", "level", "Only events of this level, in any case."),
    row("query", "events", "limit", "Objects on a page, 200 by default."),
    row("query", "", "limit", "Objects on a page, 1000 by default."),
    row("query", "", "max_moves", "Moves at most, 20 by default."),
    row("query", "", "name", "Only events of this name."),
    row("query", "events", "node_id", "Only events with this id in the field `node_id`."),
    row("query", "replicas", "node_id", "Only replicas on this node."),
    row("query", "router-assignments", "node_id", "Only assignments of this node."),
    row("query", "", "replica_id", "Only endpoints of this replica."),
    row("query", "", "role", "Only nodes with this role."),
    row("query", "", "service_id", "Only replicas of this service."),
    row("query", "", "since", "Only events after this time."),
    row("query", "", "wait", "Seconds to wait for a change, 0 by default."),
    row("body", "", "expires_in_days", "Life of the token, in days; 90 by default."),
    row("body", "auth", "current_password", "Current password."),
    row("body", "auth", "new_password", "New password."),
    row("body", "auth", "password", "Password."),
    row("body", "auth", "setup_code", "Code printed by the server, to change the first password from elsewhere."),
    row("body", "auth", "username", "Name of the user, in any case."),
    row("body", "users", "must_change_password", "True if the next sign-in must change it; true by default."),
    row("body", "users", "password", "New password."),
    row("body", "cluster", "core_token_ttl_seconds", "Life of the core token, in seconds; 1800 by default."),
    row("body", "cluster", "worker_token_ttl_seconds", "Life of the worker token, in seconds; 1800 by default."),
    row("body", "join-tokens", "ttl_seconds", "Life of the token, in seconds; 1800 by default."),
    row("body", "cluster", "api_endpoint", "Address of the node's own API."),
    row("body", "cluster", "csr_pem", "Certificate signing request with the node id as common name, PEM."),
    row("body", "cluster", "labels", "Labels of the node."),
    row("body", "cluster", "lease_token", "Lease token of the last join, renewal or heartbeat."),
    row("body", "cluster", "lease_ttl_seconds", "Life of the lease, in seconds; 45 by default."),
    row("body", "cluster", "mesh_ip", "Address inside the mesh, with or without prefix length."),
    row("body", "cluster", "name", "Name of the node, unique."),
    row("body", "cluster", "role", "Role of the node, that of the token."),
    row("body", "cluster", "signature", "Base64 ECDSA-SHA256 (ASN.1 DER) or RSA PKCS#1 v1.5 SHA-256 signature."),
    row("body", "cluster", "signed_at", "Time of the signature, in epoch seconds; each one later than the last."),
    row("body", "cluster", "status", "First status of the node."),
    row("body", "cluster", "status_patch", "Keys to replace in the status of the node."),
    row("body", "cluster", "token", "Join token."),
    row("body", "cluster", "ttl_seconds", "Life of the lease from now on, in seconds; 45 by default."),
    row("body", "/node/status", "run", "This start of the node's runner: any text that no other start has."),
    row("body", "/node/status", "full", "True if `changes` has all replicas of the node, false by default."),
    row("body", "/node/status", "held", "State of the work that the runner acts on."),
    row("body", "/node/status", "held.epoch", "Number of the run of the control plane."),
    row("body", "/node/status", "held.version", "Number of the change."),
    row("body", "/node/status", "refused", "Work that the node got last and does not act on."),
    row("body", "/node/status", "refused.reason", "The reason, as a sentence."),
    row("body", "/node/status", "refused.version", "State of that work; absent if it was unreadable."),
    row("body", "/node/status", "refused.version.epoch", "Number of the run of the control plane."),
    row("body", "/node/status", "refused.version.version", "Number of the change."),
    row("body", "/node/status", "changes", "Replicas whose status has changed, or all."),
    row("body", "/node/status", "changes.[].replica_id", "Id of the replica."),
    row("body", "/node/status", "changes.[].seq", "Number of the report; it grows with each one of this replica."),
    row("body", "/node/status", "changes.[].status", "Status of the replica on its node."),
    row("body", "/node/status", "changes.[].status.state", "State."),
    row("body", "/node/status", "changes.[].status.healthy", "Health, once it is known."),
    row(
        "body",
        "/node/status",
        "changes.[].status.applied_generation",
        "Generation that runs; absent while none does.",
    ),
    row("body", "/node/status", "changes.[].status.restarts", "Number of restarts of this generation, 0 by default."),
    row("body", "/node/status", "changes.[].status.exit", "Last end of its process."),
    row("body", "/node/status", "changes.[].status.exit.at", "Time of the end."),
    row("body", "/node/status", "changes.[].status.exit.code", "Exit code, if it ended by itself."),
    row("body", "/node/status", "changes.[].status.exit.oom", "True if it was killed for memory."),
    row("body", "/node/status", "changes.[].status.exit.signal", "Number of the signal that killed it."),
    row("body", "/node/status", "changes.[].status.exit.words", "The end in words."),
    row("body", "/node/status", "changes.[].status.started_at", "Start of the process that runs."),
    row("body", "/node/status", "changes.[].status.message", "A sentence about the state."),
    row("body", "/node/status", "changes.[].status.pid", "Id of its main process."),
    row("body", "/node/status", "changes.[].status.ports", "Ports on which it can be reached."),
    row("body", "/node/status", "changes.[].status.ports.[].name", "Name of the port in the spec."),
    row("body", "/node/status", "changes.[].status.ports.[].port", "Port of the node."),
    row("body", "/node/status", "changes.[].status.usage", "Use of the node; kept in memory alone."),
    row("body", "/node/status", "changes.[].status.usage.cpu_millis", "Processor time, in thousandths of a core."),
    row("body", "/node/status", "changes.[].status.usage.memory_bytes", "Memory, in bytes."),
    row("body", "nodes", "run", "Id of the agent's run that stays."),
    row("body", "replicas", "snapshot_id", "Id of the snapshot to restore; the newest by default."),
    row("body", "replicas", "target_node_id", "Id of the node to move to."),
    row("body", "services", "target_generation", "Generation to restore; the previous one by default."),
    row("body", "services", "spec.command", "Program, by its absolute path, and its arguments."),
    row(
        "body",
        "services",
        "spec.driver",
        "Driver of a replica: `process`, `container`, or `none` for a record. By default a container if there \
         is an `image`, else a process if there is a `command`.",
    ),
    row("body", "services", "spec.environment", "Environment variables by name."),
    row("body", "services", "spec.health", "Health check, with one of `http`, `tcp` and `exec`."),
    row(
        "body",
        "services",
        "spec.health.exec",
        "Program that ends with status 0 if the replica is healthy, and its arguments.",
    ),
    row("body", "services", "spec.health.http", "Web server on the node to check."),
    row("body", "services", "spec.health.http.path", "Path and query of the request, `/` by default."),
    row("body", "services", "spec.health.http.port", "Port of the web server."),
    row("body", "services", "spec.health.http.status", "Expected status; any from 200 to 399 by default."),
    row("body", "services", "spec.health.interval_seconds", "Time between two checks, in seconds; 10 by default."),
    row(
        "body",
        "services",
        "spec.health.retries",
        "Failed checks in a row that make a replica unhealthy, 3 by default.",
    ),
    row(
        "body",
        "services",
        "spec.health.start_interval_seconds",
        "Time between two checks until the first success, in seconds; 1 by default.",
    ),
    row(
        "body",
        "services",
        "spec.health.start_period_seconds",
        "Time after the start in which failed checks do not count, in seconds; 30 by default.",
    ),
    row("body", "services", "spec.health.tcp", "Port on the node to check."),
    row("body", "services", "spec.health.tcp.port", "Port that should accept connections."),
    row(
        "body",
        "services",
        "spec.health.timeout_seconds",
        "Time after which a check has failed, in seconds; 3 by default.",
    ),
    row("body", "services", "spec.image", "Image of a container."),
    row("body", "services", "spec.logs", "Bounds of the output that is kept on the node."),
    row("body", "services", "spec.logs.files", "Number of files, 3 by default."),
    row("body", "services", "spec.logs.max_mb", "Size of a file, in MiB; 10 by default."),
    row("body", "services", "spec.resources.pids", "Maximum number of processes and threads, 512 by default."),
    row("body", "services", "spec.restart", "Restarts of a replica that ended by itself."),
    row(
        "body",
        "services",
        "spec.restart.delay_max_seconds",
        "Longest wait before a restart, in seconds; 60 by default.",
    ),
    row(
        "body",
        "services",
        "spec.restart.delay_seconds",
        "Wait before the first restart, in seconds, doubled for each further one; 1 by default.",
    ),
    row(
        "body",
        "services",
        "spec.restart.policy",
        "Condition of a restart: `always` (the default), `on_failure`, or `never`.",
    ),
    row(
        "body",
        "services",
        "spec.restart.reset_after_seconds",
        "Time of health after which the first wait counts again, in seconds; 600 by default.",
    ),
    row(
        "body",
        "services",
        "spec.rolling_update.healthy_deadline_seconds",
        "Time that a replica may be unavailable before it counts as unhealthy, in seconds; 300 by default.",
    ),
    row(
        "body",
        "services",
        "spec.rolling_update.min_healthy_seconds",
        "Time of running after which a replica without a health check is healthy, in seconds; 10 by default.",
    ),
    row("body", "services", "spec.stop", "End of a replica on request."),
    row("body", "services", "spec.stop.grace_seconds", "Time until it is killed, in seconds; 10 by default."),
    row("body", "services", "spec.stop.signal", "Signal that requests its end, `SIGTERM` by default."),
    row("body", "services", "spec.user", "Name or number of the user that a replica runs as."),
    row("body", "services", "spec.working_dir", "Working directory."),
    row("body", "services", "spec.placement", "Replicas with a place of their own."),
    row("body", "services", "spec.placement.pinned_replicas", "Pins, one for each replica."),
    row("body", "services", "spec.placement.pinned_replicas.[].desired_state", "State it should have."),
    row("body", "services", "spec.placement.pinned_replicas.[].node_id", "Id of the node to keep it on."),
    row("body", "services", "spec.placement.pinned_replicas.[].replica_id", "Id of the replica."),
    row(
        "body",
        "services",
        "spec.ports",
        "Ports of the host for each replica: numbers, texts such as `80:80/udp`, or objects.",
    ),
    row("body", "services", "spec.ports.[].address", "Address of the host to listen on."),
    row("body", "services", "spec.ports.[].app_protocol", "Protocol above TCP or UDP, for people."),
    row("body", "services", "spec.ports.[].container_port", "Port inside the container."),
    row("body", "services", "spec.ports.[].host_ip", "Address of the host to listen on."),
    row("body", "services", "spec.ports.[].host_port", "Port of the host."),
    row("body", "services", "spec.ports.[].mode", "Mode of the port, as Compose names it."),
    row("body", "services", "spec.ports.[].name", "Name of the port."),
    row("body", "services", "spec.ports.[].protocol", "Transport protocol, `tcp` by default."),
    row("body", "services", "spec.ports.[].published", "Port of the host, another word for `host_port`."),
    row("body", "services", "spec.ports.[].target", "Port inside the container, another word for `container_port`."),
    row("body", "services", "spec.replicas_desired", "Number of replicas, if `scheduling.desired_replicas` is absent."),
    row("body", "services", "spec.resources", "Resources that each replica needs."),
    row("body", "services", "spec.resources.cpu_millis", "CPU, in thousandths of a core."),
    row("body", "services", "spec.resources.memory_mb", "Memory, in MiB."),
    row("body", "services", "spec.rolling_update", "Limits of a rollout."),
    row("body", "services", "spec.rolling_update.max_surge", "Replicas beside the desired ones, 1 by default."),
    row("body", "services", "spec.rolling_update.max_unavailable", "Replicas that may be away at once, 0 by default."),
    row("body", "services", "spec.scheduling", "Number and placement of replicas."),
    row("body", "services", "spec.scheduling.desired_replicas", "Number of replicas; the current number by default."),
    row(
        "body",
        "services",
        "spec.scheduling.lost_after_seconds",
        "Wait after the death of a node before its replicas move, in seconds; 0 by default. \
         A node is dead some seconds after its lease ended (cluster setting node_dead_after_seconds).",
    ),
    row(
        "body",
        "services",
        "spec.scheduling.mode",
        "Mode: `replicated` runs the desired number, `per_node` one on every node.",
    ),
    row("body", "services", "spec.scheduling.spread_by", "Label whose values replicas are spread over."),
    row("body", "support-bundles", "with_values", "True to include texts and values of operators; only for admins."),
    row("body", "updates", "lost_max", "Nodes that may fail or be lost before the update halts, 0 by default."),
    row("body", "updates", "wait_seconds", "Wait between two rings, in seconds; 600 by default."),
];
