//! The protocol between a node and the control plane, typed once for both ends.
//!
//! Both ends ignore unknown fields. The control plane reads requests with `http::fields`, so that a client learns of
//! every fault at once; a test there compares its reading with these types.

pub use crate::error::Reason;

use super::addresses::Addresses;
use super::join_tokens::JoinRole;
use super::leases::LeaseState;
use super::updates::Request;
use crate::clock::Timestamp;
use crate::model::ids::NodeId;
use crate::model::mesh_address::MeshAddress;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Body of `POST /cluster/join`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The secret of the join token.
    pub token: String,
    /// The requested id.
    pub node_id: NodeId,
    /// The requested name.
    pub name: String,
    /// The requested role.
    pub role: JoinRole,
    /// The certificate signing request, PEM.
    pub csr_pem: String,
    /// Address inside the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_ip: Option<MeshAddress>,
    /// URL of the node's own API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_endpoint: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Seconds of the first lease.
    pub lease_ttl_seconds: i64,
}

/// Body of `POST /cluster/heartbeat`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeartbeatRequest {
    /// The node.
    pub node_id: NodeId,
    /// Its lease token.
    pub lease_token: String,
    /// Epoch seconds of the signature.
    pub signed_at: i64,
    /// Seconds until the lease runs out.
    pub ttl_seconds: i64,
    /// The node's report, exactly as signed.
    pub status_patch: Box<RawValue>,
    /// Base64 of the signature over `crypto::signature::heartbeat_message`.
    pub signature: String,
}

/// Body of `POST /cluster/renew`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenewalRequest {
    /// The node.
    pub node_id: NodeId,
    /// The new certificate signing request, PEM.
    pub csr_pem: String,
    /// Epoch seconds of the signature.
    pub signed_at: i64,
    /// Base64 of the signature over `crypto::signature::renewal_message`, by the enrolled key.
    pub signature: String,
}

/// Answer to a join and to a renewal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The node.
    pub node_id: NodeId,
    /// Token that the node sends with each heartbeat.
    pub lease_token: String,
    /// End of its first lease.
    pub lease_expires_at: Timestamp,
    /// SHA-256 of the certificate (DER), in hex.
    pub identity_fingerprint: String,
    /// The certificate, PEM.
    pub node_cert_pem: String,
    /// Certificates of the authorities to trust, PEM.
    pub ca_cert_pem: String,
    /// The server's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_time: Option<Timestamp>,
    /// The node that this join has replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
}

/// An enrolled node that a join has replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replaced {
    /// Its id.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Time of its last accepted heartbeat.
    pub last_seen_at: Option<Timestamp>,
    /// Fingerprint of its certificate.
    pub identity_fingerprint: Option<String>,
    /// True if the joining machine has its key: it is the same machine, or a copy of it.
    pub same_key: bool,
}

/// Answer to an accepted heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// The node.
    pub node_id: NodeId,
    /// Time at which the heartbeat was accepted.
    pub heartbeat_at: Timestamp,
    /// End of the lease.
    pub lease_expires_at: Timestamp,
    /// State of the lease.
    pub lease_state: Part<LeaseState>,
    /// The server's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_time: Option<Timestamp>,
    /// A fresh lease token, once the one in the request is past half of its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_token: Option<String>,
    /// True if the node must renew its identity, because there is another authority to trust.
    #[serde(default, deserialize_with = "false_if_null", skip_serializing_if = "std::ops::Not::not")]
    pub renew_identity: bool,
    /// Current addresses of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Part<Addresses>>,
    /// The update that the node must install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Part<UpdateRequest>>,
    /// Seconds until the next heartbeat, where the control plane asks all nodes to come less often; absent: a third of
    /// the lease. The lease is long enough for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_heartbeat_seconds: Option<i64>,
    /// `false`: the lease is renewed, but the report is only in memory until a later heartbeat's write succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_stored: Option<bool>,
}

/// An update that a node must install. The updater's file, [`Request`], has the same fields and allows no others: root
/// reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateRequest {
    /// Id of the update and its attempt.
    pub id: String,
    /// Channel of the release manifest.
    pub channel: String,
    /// The version that the channel must have.
    pub version: String,
}

impl From<Request> for UpdateRequest {
    fn from(Request { id, channel, version }: Request) -> UpdateRequest {
        UpdateRequest { id, channel, version }
    }
}

impl From<UpdateRequest> for Request {
    fn from(UpdateRequest { id, channel, version }: UpdateRequest) -> Request {
        Request { id, channel, version }
    }
}

/// A part that an answer can do without. If only a newer version understands it, this part alone is lost.
#[derive(Debug, Clone, PartialEq)]
pub enum Part<T> {
    /// Understood.
    Known(T),
    /// Not understood, with the reason.
    Unknown(String),
}

impl<T: Serialize> Serialize for Part<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Part::Known(part) => part.serialize(s),
            Part::Unknown(_) => s.serialize_none(),
        }
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Part<T>, D::Error> {
        let read = serde_json::from_value(Value::deserialize(d)?);
        Ok(read.map_or_else(|e| Part::Unknown(e.to_string()), Part::Known))
    }
}

fn false_if_null<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(false))
}

/// Body of a refusal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// A sentence, or every fault of a request.
    pub detail: Value,
    /// The reason, once the caller has proven who it is.
    #[serde(default, deserialize_with = "if_readable", skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The server's time, if a reason is given.
    #[serde(default, deserialize_with = "if_readable", skip_serializing_if = "Option::is_none")]
    pub server_time: Option<Timestamp>,
}

/// A refusal stays a refusal, even if other fields are unreadable.
fn if_readable<'de, T: serde::de::DeserializeOwned, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(d)?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(more: Value) -> HeartbeatAnswer {
        let mut all = json!({
            "node_id": "n", "heartbeat_at": "2026-11-23T20:12:26.900008Z",
            "lease_expires_at": "2026-11-23T20:13:11.900008Z",
            "lease_state": "alive",
        });
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_value(all).expect("an answer")
    }

    #[test]
    fn reasons_keep_their_words() {
        let known = [
            (Reason::LeaseExpired, "lease_expired"),
            (Reason::IdentityReplaced, "identity_replaced"),
            (Reason::CertificateExpired, "certificate_expired"),
            (Reason::IdentityExpired, "identity_expired"),
            (Reason::ClockSkew, "clock_skew"),
            (Reason::Replayed, "replayed"),
            (Reason::BadSignature, "bad_signature"),
            (Reason::AnotherRun, "another_run"),
            (Reason::Unknown("phase_of_the_moon".into()), "phase_of_the_moon"),
        ];
        for (reason, word) in known {
            assert_eq!(json!(reason), json!(word));
            assert_eq!(serde_json::from_value::<Reason>(json!(word)).expect(word), reason);
            assert_eq!(reason.to_string(), word);
        }
    }

    #[test]
    fn a_refusal_survives_what_is_not_understood() {
        let read = |body: Value| serde_json::from_value::<Refusal>(body).expect("a refusal");
        let said = read(json!({"detail": "No.", "reason": 7, "server_time": "noon", "more": {}}));
        assert_eq!(said, Refusal { detail: "No.".into(), reason: None, server_time: None });
        let said = json!({"detail": "No.", "reason": "new", "server_time": "2026-11-23T20:12:26.900008Z"});
        assert_eq!(json!(read(said.clone())), said);
        assert!(serde_json::from_value::<Refusal>(json!({"error": "No."})).is_err());
    }

    #[test]
    fn an_answer_of_another_version_holds() {
        let plain = answer(json!({}));
        assert_eq!((plain.lease_token, plain.renew_identity, plain.update), (None, false, None));
        let newer = answer(json!({
            "update": {"id": "u-1.1", "channel": "stable", "version": "9.0.0", "more": [1]},
            "addresses": ["https://192.0.2.7:8000"],
            "assignments": {"generation": 7},
        }));
        let update = UpdateRequest { id: "u-1.1".into(), channel: "stable".into(), version: "9.0.0".into() };
        assert_eq!(newer.update, Some(Part::Known(update)));
        assert!(matches!(newer.addresses, Some(Part::Unknown(why)) if why.contains("invalid type")));
        let odd = answer(json!({"lease_state": "resting", "renew_identity": null, "lease_token": "a.b"}));
        assert!(matches!(odd.lease_state, Part::Unknown(why) if why.contains("resting")));
        assert_eq!((odd.lease_token.as_deref(), odd.renew_identity), (Some("a.b"), false), "the rest is read");
    }
}
