-- name: page
SELECT seq, id, name, roles, labels, mesh_ip, status, api_endpoint, identity_fingerprint, identity_expires_at, created_at, updated_at,
    mesh_ip_given, capacity, reserved
FROM nodes WHERE id > :after ORDER BY id LIMIT :limit
-- name: page_of
-- scan: filters by role, label and lease state look at every node; there are some thousands.
SELECT seq, id, name, roles, labels, mesh_ip, status, api_endpoint, identity_fingerprint, identity_expires_at, created_at, updated_at,
    mesh_ip_given, capacity, reserved
FROM nodes WHERE id > :after
    AND (:role IS NULL OR EXISTS (SELECT 1 FROM json_each(nodes.roles) WHERE value = :role))
    AND NOT EXISTS (SELECT 1 FROM json_each(:labels) AS w WHERE NOT EXISTS (
        SELECT 1 FROM json_each(nodes.labels) AS l WHERE l.key = w.key AND l.value = w.value))
    AND (:among IS NULL OR id IN (SELECT value FROM json_each(:among)))
    AND (:not_among IS NULL OR id NOT IN (SELECT value FROM json_each(:not_among)))
ORDER BY id LIMIT :limit
-- name: count_of
-- scan: the same.
SELECT count(*) FROM nodes
WHERE (:role IS NULL OR EXISTS (SELECT 1 FROM json_each(nodes.roles) WHERE value = :role))
    AND NOT EXISTS (SELECT 1 FROM json_each(:labels) AS w WHERE NOT EXISTS (
        SELECT 1 FROM json_each(nodes.labels) AS l WHERE l.key = w.key AND l.value = w.value))
    AND (:among IS NULL OR id IN (SELECT value FROM json_each(:among)))
    AND (:not_among IS NULL OR id NOT IN (SELECT value FROM json_each(:not_among)))
-- name: first_identity_end
SELECT min(identity_expires_at) FROM nodes
-- name: all
-- scan: the scheduler sees every node.
SELECT seq, id, name, roles, labels, mesh_ip, status, api_endpoint, identity_fingerprint, identity_expires_at, created_at, updated_at,
    mesh_ip_given, capacity, reserved
FROM nodes
-- name: page_of_statuses
SELECT id, status FROM nodes WHERE id > :after ORDER BY id LIMIT :limit
-- name: by_id
SELECT seq, id, name, roles, labels, mesh_ip, status, api_endpoint, identity_fingerprint, identity_expires_at, created_at, updated_at,
    mesh_ip_given, capacity, reserved
FROM nodes WHERE id = :id
-- name: count
-- scan: counting reads the smallest index once.
SELECT count(*) FROM nodes
-- name: names
-- scan: the lease list is ordered by what lives in memory, so it needs every node.
SELECT id, name, roles FROM nodes
-- name: id_of_name
SELECT id FROM nodes WHERE name = :name
-- name: earlier
SELECT id, name FROM nodes
WHERE id <> :id AND seq < coalesce((SELECT seq FROM nodes WHERE id = :id), 9223372036854775807)
    AND (id IN (:short, :full) OR name IN (:short, :full)
        OR (lower(id) IN (:short, :full) AND lower(id) <> id) OR (lower(trim(name)) IN (:short, :full) AND lower(trim(name)) <> name))
-- name: alike
SELECT id, name FROM nodes WHERE id <> :id
    AND (id = :folded_id OR name = :folded_name
        OR (lower(id) = :folded_id AND lower(id) <> id) OR (lower(trim(name)) = :folded_name AND lower(trim(name)) <> name))
-- name: addresses_given
-- scan: asked when a certificate with a given address is issued; there are some thousands.
SELECT mesh_ip_given FROM nodes WHERE id <> :id AND mesh_ip_given IS NOT NULL
-- name: insert
INSERT INTO nodes (id, name, roles, labels, mesh_ip, mesh_ip_given, status, api_endpoint, capacity, reserved, created_at, updated_at)
VALUES (:id, :name, :roles, :labels, :mesh_ip, :mesh_ip_given, :status, :api_endpoint, :capacity, :reserved, :now, :now)
-- name: update
UPDATE nodes SET name = :name, roles = :roles, labels = :labels, mesh_ip = :mesh_ip, mesh_ip_given = :mesh_ip_given, status = :status, api_endpoint = :api_endpoint,
    capacity = :capacity, reserved = :reserved, updated_at = :now
WHERE id = :id
-- name: set_identity
UPDATE nodes SET identity_fingerprint = :fingerprint, identity_expires_at = :expires_at, identity_key = :key, identity_trust = :trust, updated_at = :now WHERE id = :id
-- name: adopt_trust
-- scan: once at a start, for rows of an older version.
UPDATE nodes SET identity_trust = :trust WHERE identity_trust IS NULL AND identity_key IS NOT NULL
-- name: count_trust
-- scan: counts over some thousands of nodes, asked by an operator during a rotation.
SELECT count(*), count(CASE WHEN identity_trust = :trust THEN 1 END) FROM nodes WHERE identity_key IS NOT NULL
-- name: trust_page
SELECT id, name, identity_trust = :trust FROM nodes WHERE id > :after AND identity_key IS NOT NULL ORDER BY id LIMIT :limit
-- name: delete
DELETE FROM nodes WHERE id = :id
-- name: replicas_on
SELECT count(*) FROM replicas WHERE node_id = :id
-- name: unheard_since
-- scan: only where nodes are to be forgotten, six times a minute.
SELECT n.id FROM leases l JOIN nodes n ON n.seq = l.node_seq
WHERE l.heartbeat_at_s < :before_s
    AND NOT EXISTS (SELECT 1 FROM replicas WHERE node_id = n.id)
    AND NOT EXISTS (SELECT 1 FROM router_assignments WHERE node_id = n.id OR primary_router_id = n.id OR secondary_router_id = n.id)
ORDER BY n.id LIMIT :limit
