-- name: page
SELECT seq, id, name, roles, labels, mesh_ip, status, api_endpoint, identity_fingerprint, identity_expires_at, created_at, updated_at
FROM nodes WHERE id > :after ORDER BY id LIMIT :limit
-- name: by_id
SELECT seq, id, name, roles, labels, mesh_ip, status, api_endpoint, identity_fingerprint, identity_expires_at, created_at, updated_at
FROM nodes WHERE id = :id
-- name: count
-- scan: counting reads the smallest index once.
SELECT count(*) FROM nodes
-- name: names
-- scan: the lease list is ordered by what lives in memory, so it needs every node.
SELECT id, name, roles FROM nodes
-- name: id_of_name
SELECT id FROM nodes WHERE name = :name
-- name: insert
INSERT INTO nodes (id, name, roles, labels, mesh_ip, status, api_endpoint, created_at, updated_at)
VALUES (:id, :name, :roles, :labels, :mesh_ip, :status, :api_endpoint, :now, :now)
-- name: update
UPDATE nodes SET name = :name, roles = :roles, labels = :labels, mesh_ip = :mesh_ip, status = :status, api_endpoint = :api_endpoint, updated_at = :now
WHERE id = :id
-- name: set_identity
UPDATE nodes SET identity_fingerprint = :fingerprint, identity_expires_at = :expires_at, identity_key = :key, updated_at = :now WHERE id = :id
-- name: delete
DELETE FROM nodes WHERE id = :id
-- name: replicas_on
SELECT count(*) FROM replicas WHERE node_id = :id
