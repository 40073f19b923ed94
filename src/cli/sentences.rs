//! Sentences about events, for people; programs read names and fields.

use super::answers::said;
use super::output;
use serde_json::Value;

/// A sentence for each event that the server records: `{field}` is its value, `{field thing}` a number of things.
const SENTENCES: &[(&str, &str)] = &[
    ("api_token.create", "{owner} created the API token {name}"),
    ("api_token.delete", "The API token {name} of {owner} was revoked"),
    ("auth.local_use", "The local credential was used for the first time since the start"),
    ("auth.sign_in", "{username} signed in"),
    ("auth.sign_in_failed", "A sign-in as {username} failed"),
    ("auth.sign_out", "{username} signed out"),
    ("backup.create", "The backup {backup_id} was created"),
    ("backup.delete", "The backup {backup_id} was deleted"),
    ("backup.download", "The backup {backup_id} was downloaded"),
    ("backup.drill_failed", "The newest backup, {backup_id}, could not be restored in a drill: {error}"),
    ("backup.drill_passed", "The newest backup, {backup_id}, was restored in a drill: {rows row}"),
    ("backup.failed", "A backup could not be created: {error}"),
    ("backup.restored", "The server started from the restored backup {backup_id} of {created_at}"),
    ("ca.drop_previous", "The previous authority is not trusted any more"),
    ("ca.rotate", "The authority was rotated"),
    ("certificate.outside_dates", "The certificate of {what} was outside its dates: {from} to {until}"),
    ("cluster.bootstrap", "The cluster was bootstrapped"),
    ("endpoint.create", "The endpoint {endpoint_id} of {replica_id} was created"),
    ("endpoint.delete", "The endpoint {endpoint_id} of {replica_id} was deleted"),
    ("endpoint.update", "The health of the endpoint {endpoint_id} was reported: {healthy}"),
    ("join_token.create", "A join token for the role {role} was created: {token_id}"),
    ("join_token.delete", "The join token {token_id} was revoked"),
    ("node.cordon", "{node_id} was cordoned"),
    ("node.create", "{node_id} was created"),
    ("node.delete", "{node_id} was removed"),
    ("node.drain", "A drain of {node_id} began"),
    ("node.drain_blocked", "{node_id} cannot be drained: {left replica} fits nowhere else"),
    ("node.drained", "{node_id} is drained"),
    ("node.forget", "{node_id} was dead for too long, and was removed"),
    ("node.join", "{node_id} joined as {role}"),
    ("node.keep_run", "An operator chose the run {run} of {node_id}"),
    ("node.lease.alive", "{node_id} is alive again"),
    ("node.lease.dead", "{node_id} is dead: last heartbeat at {heartbeat_at}"),
    ("node.lease.stale", "{node_id} is stale: last heartbeat at {heartbeat_at}"),
    ("node.reboot_marker", "A reboot of {node_id} was requested"),
    ("node.rejoin", "{node_id} joined again as {role}"),
    ("node.renew", "{node_id} renewed its certificate"),
    ("node.rotate_keys", "New WireGuard keys of {node_id} were requested"),
    ("node.suspect", "{node_id} is suspect since {since}: its connection was reset"),
    ("node.two_holders", "Two machines send heartbeats as {node_id}: see `uptimemesh node runs {node_id}`"),
    ("node.uncordon", "{node_id} takes replicas again"),
    ("node.unsuspect", "{node_id} is heard again"),
    ("node.update", "{node_id} was changed"),
    ("password.change", "{username} changed their password"),
    ("proxy.unnamed", "The proxy {proxy} forwards requests without the address of the client"),
    ("replica.create", "The replica {replica_id} was created on {node_id}"),
    ("replica.delete", "The replica {replica_id} of {service_id} was deleted"),
    ("replica.logs", "The output of the replica {replica_id} of {service_id} was read"),
    ("replica.move", "{by} moved the replica {replica_id} from {source_node_id} to {target_node_id}"),
    ("replica.restart", "A restart of the replica {replica_id} was requested"),
    ("replica.restore", "A restore of the replica {replica_id} was requested"),
    ("replica.snapshot", "A snapshot of the replica {replica_id} was requested"),
    ("replica.state", "The replica {replica_id} of {service_id} is {state} on {node_id}"),
    ("replica.update", "The replica {replica_id} of {service_id} was changed"),
    ("router_assignment.create", "The router assignment {assignment_id} to {node_id} was created"),
    ("router_assignment.delete", "The router assignment {assignment_id} to {node_id} was deleted"),
    ("scheduler.brake_off", "The scheduler moves replicas again"),
    ("scheduler.brake_on", "{silent} of {nodes node} fell silent at once: the scheduler moves nothing from them"),
    ("scheduler.grace", "Replicas of silent nodes stay for {seconds second} after the start"),
    ("scheduler.reconcile", "{service_id} has {actual_replicas} of {desired_replicas replica}, after {actions}"),
    ("scheduler.rollout_late", "The rollout of {service_id} is late: {outdated replica} on an older generation"),
    ("service.create", "{by} created the service {service_id}"),
    ("service.delete", "{by} deleted the service {service_id} with {replicas replica}"),
    ("service.logs", "The output of {service_id} was read"),
    ("service.rollback", "{by} rolled {service_id} back to generation {target_generation}, as {generation}"),
    ("service.rollout", "{by} restarts every replica of {service_id}, as generation {generation}"),
    ("service.run", "{by} let nodes run {service_id}"),
    ("service.update", "{by} changed the service {service_id}, now generation {generation}"),
    ("session.revoke", "A session of {username} was ended"),
    ("setting.update", "{by} changed the setting {key}"),
    ("snapshot.completed", "The snapshot {snapshot_id} is complete"),
    ("snapshot.deleted", "The snapshot {snapshot_id} was deleted"),
    ("snapshot.failed", "The snapshot {snapshot_id} failed"),
    ("snapshot.requested", "{requested_by} requested the snapshot {snapshot_id}"),
    ("snapshot.running", "The snapshot {snapshot_id} was begun"),
    ("support_bundle.completed", "The bundle {bundle_id} is complete"),
    ("support_bundle.deleted", "The bundle {bundle_id} was deleted"),
    ("support_bundle.download", "The bundle {bundle_id} was downloaded"),
    ("support_bundle.failed", "The bundle {bundle_id} failed"),
    ("support_bundle.pruned", "The old bundle {bundle_id} was deleted"),
    ("support_bundle.requested", "{requested_by} requested the bundle {bundle_id}"),
    ("support_bundle.running", "The bundle {bundle_id} was begun"),
    ("update.cancelled", "The update to {version} was cancelled"),
    ("update.completed", "The update to {version} is complete"),
    ("update.halted", "The update {update_id} halted at the ring {ring}: {reason}"),
    ("update.paused", "The update to {version} was paused"),
    ("update.resumed", "The update to {version} was resumed"),
    ("update.ring", "The update to {version} reached the ring {ring}"),
    ("update.started", "The update to {version} was started"),
    ("user.create", "The user {username} was created as {role}"),
    ("user.delete", "The user {username} was deleted"),
    ("user.reset_password", "The password of {username} was reset on the server's machine"),
    ("user.role", "The role of {username} was changed from {from} to {to}"),
    ("user.set_password", "An admin set the password of {username}"),
];

/// A sentence about an event, in ASCII. One that a client recorded has its name and fields.
pub fn sentence(name: &str, fields: &Value) -> String {
    let known = SENTENCES.iter().find(|(known, _)| *known == name);
    output::ascii(&known.map_or_else(|| of_client(name, fields), |(_, template)| filled(template, fields)))
}

fn of_client(name: &str, fields: &Value) -> String {
    let fields: Vec<String> =
        fields.as_object().into_iter().flatten().map(|(key, value)| format!("{key} {}", in_words(value))).collect();
    if fields.is_empty() { name.to_string() } else { format!("{name}: {}", fields.join(", ")) }
}

/// The template with the values of its fields.
fn filled(template: &str, fields: &Value) -> String {
    let mut out = String::new();
    for part in template.split('}') {
        let (text, field) = part.split_once('{').unwrap_or((part, ""));
        out.push_str(text);
        match field.split_once(' ') {
            Some((field, thing)) => out.push_str(&counted(&fields[field], thing)),
            None if field.is_empty() => {}
            None => out.push_str(&in_words(&fields[field])),
        }
    }
    out
}

fn counted(value: &Value, thing: &str) -> String {
    let ending = if value == 1 { "" } else { "s" };
    format!("{} {thing}{ending}", in_words(value))
}

/// A value without the marks of JSON, a moment without its fraction of a second.
fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "(unknown)".to_string(),
        Value::Bool(true) => "yes".to_string(),
        Value::Bool(false) => "no".to_string(),
        Value::Array(items) => items.iter().map(in_words).collect::<Vec<_>>().join(", "),
        Value::Object(pairs) if pairs.is_empty() => "nothing".to_string(),
        Value::Object(pairs) => {
            let pair = |(key, value): (&String, &Value)| format!("{} {}", key.replace('_', " "), in_words(value));
            pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
        }
        other => output::moment(&said(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::events::catalogue;
    use serde_json::json;

    #[test]
    fn every_event_of_the_server_has_a_sentence_of_its_own_fields() {
        for kind in catalogue::ALL {
            let (_, template) = SENTENCES.iter().find(|(name, _)| *name == kind.name).expect(kind.name);
            for field in template.split('{').skip(1).filter_map(|rest| rest.split(['}', ' ']).next()) {
                assert!(kind.fields.contains(&field), "{}: {field}", kind.name);
            }
        }
        for (name, _) in SENTENCES {
            assert!(catalogue::ALL.iter().any(|kind| kind.name == *name), "{name} is not recorded");
        }
    }

    #[test]
    fn people_read_sentences_and_no_json() {
        let blocked = json!({"node_id": "node-b", "left": 1, "replicas": [{"replica_id": "r", "reason": "x"}]});
        for (name, fields, wanted) in [
            ("node.drain_blocked", blocked, "node-b cannot be drained: 1 replica fits nowhere else"),
            ("auth.sign_in_failed", json!({"username": null}), "A sign-in as (unknown) failed"),
            ("backup.failed", json!({"error": "full\x1b[2J"}), "A backup could not be created: full\\u{1b}[2J"),
            (
                "scheduler.reconcile",
                json!({"service_id": "web", "actual_replicas": 2, "desired_replicas": 2, "actions": {"scale_up": 2}}),
                "web has 2 of 2 replicas, after scale up 2",
            ),
            (
                "node.lease.dead",
                json!({"node_id": "n", "heartbeat_at": "2026-11-28T20:12:00.123456Z"}),
                "n is dead: last heartbeat at 2026-11-28T20:12:00Z",
            ),
            ("mine.done", json!({"a": {"b_c": true}, "d": [1, 2]}), "mine.done: a b c yes, d 1, 2"),
            ("mine.done", json!({}), "mine.done"),
        ] {
            assert_eq!(sentence(name, &fields), wanted);
        }
    }
}
