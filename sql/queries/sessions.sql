-- name: holder
SELECT s.last_seen_at, s.expires_at, u.name, u.role, u.must_change_password, u.password_is_seeded
FROM sessions s JOIN users u ON u.name = s.user WHERE s.id = :id
-- name: page
SELECT id, user, address, user_agent, created_at, last_seen_at, expires_at FROM sessions WHERE id > :after ORDER BY id LIMIT :limit
-- name: count
-- scan: ended sessions are pruned, so there are few.
SELECT count(*) FROM sessions
-- name: page_of_user
-- scan: a user has few sessions.
SELECT id, user, address, user_agent, created_at, last_seen_at, expires_at FROM sessions
WHERE user = :user AND id > :after ORDER BY id LIMIT :limit
-- name: count_of_user
SELECT count(*) FROM sessions WHERE user = :user
-- name: user_of
SELECT user FROM sessions WHERE id = :id
-- name: insert
INSERT INTO sessions (id, user, address, user_agent, created_at, last_seen_at, expires_at)
VALUES (:id, :user, :address, :user_agent, :now, :now, :expires_at)
-- name: seen
UPDATE sessions SET last_seen_at = :at WHERE id = :id AND last_seen_at < :at
-- name: delete
DELETE FROM sessions WHERE id = :id
-- name: delete_of_user
DELETE FROM sessions WHERE user = :user
-- name: trim
-- scan: sorts the sessions of one user, of which there are a hundred at most.
DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user = :user ORDER BY last_seen_at DESC, created_at DESC LIMIT -1 OFFSET :kept)
-- name: prune_expired
DELETE FROM sessions WHERE expires_at < :now
-- name: prune_idle
DELETE FROM sessions WHERE last_seen_at < :before
