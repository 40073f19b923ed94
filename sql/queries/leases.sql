-- name: enrolled
-- scan: every enrolled node is loaded into the lease table, once at start.
SELECT n.seq, n.id, n.name, n.identity_fingerprint, n.identity_key, n.identity_trust, l.heartbeat_at_s, l.signed_at_s, l.ttl_s, l.state
FROM nodes n JOIN leases l ON l.node_seq = n.seq
WHERE n.identity_key IS NOT NULL
-- name: put
INSERT INTO leases (node_seq, heartbeat_at_s, signed_at_s, ttl_s, state) VALUES (:seq, :heartbeat_at_s, :signed_at_s, :ttl_s, :state)
ON CONFLICT (node_seq) DO UPDATE SET heartbeat_at_s = excluded.heartbeat_at_s, signed_at_s = excluded.signed_at_s, ttl_s = excluded.ttl_s, state = excluded.state
-- name: renew
UPDATE leases SET heartbeat_at_s = :heartbeat_at_s, signed_at_s = :signed_at_s, ttl_s = :ttl_s WHERE node_seq = :seq
-- name: set_state
UPDATE leases SET state = :state WHERE node_seq = :seq
