-- name: page
SELECT id, role, node_id, mesh_ip, expires_at, used_at, used_by, created_at, updated_at FROM join_tokens WHERE id > :after ORDER BY id LIMIT :limit
-- name: count
-- scan: old tokens are pruned, so there are few.
SELECT count(*) FROM join_tokens
-- name: by_hash
SELECT id, role, node_id, mesh_ip, expires_at, used_at, used_by, created_at, updated_at FROM join_tokens WHERE token_hash = :token_hash
-- name: insert
INSERT INTO join_tokens (id, token_hash, role, node_id, mesh_ip, expires_at, created_at, updated_at)
VALUES (:id, :token_hash, :role, :node_id, :mesh_ip, :expires_at, :now, :now)
-- name: use_up
UPDATE join_tokens SET used_at = :now, used_by = :used_by, updated_at = :now WHERE id = :id AND used_at IS NULL AND expires_at > :now
-- name: delete
DELETE FROM join_tokens WHERE id = :id
-- name: prune
DELETE FROM join_tokens WHERE expires_at < :before
