-- name: holder
SELECT t.id, t.role, t.expires_at, u.name, u.role FROM api_tokens t JOIN users u ON u.name = t.owner WHERE t.token_hash = :token_hash
-- name: page
SELECT id, name, owner, role, expires_at, last_used_at, last_used_address, created_at, updated_at FROM api_tokens
WHERE id > :after ORDER BY id LIMIT :limit
-- name: count
-- scan: old tokens are pruned, so there are few.
SELECT count(*) FROM api_tokens
-- name: page_of_owner
-- scan: a user has at most 100 tokens.
SELECT id, name, owner, role, expires_at, last_used_at, last_used_address, created_at, updated_at FROM api_tokens
WHERE owner = :owner AND id > :after ORDER BY id LIMIT :limit
-- name: count_of_owner
SELECT count(*) FROM api_tokens WHERE owner = :owner
-- name: by_id
SELECT id, name, owner, role, expires_at, last_used_at, last_used_address, created_at, updated_at FROM api_tokens WHERE id = :id
-- name: insert
INSERT INTO api_tokens (id, name, owner, role, token_hash, expires_at, created_at, updated_at)
VALUES (:id, :name, :owner, :role, :token_hash, :expires_at, :now, :now)
-- name: used
UPDATE api_tokens SET last_used_at = :at, last_used_address = :address, updated_at = :at WHERE id = :id
-- name: delete
DELETE FROM api_tokens WHERE id = :id
-- name: delete_of_owner
DELETE FROM api_tokens WHERE owner = :owner
-- name: prune
DELETE FROM api_tokens WHERE expires_at < :before
