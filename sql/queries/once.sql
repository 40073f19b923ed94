-- name: by_key
SELECT request_sha256, answer FROM idempotency_keys WHERE caller = :caller AND key = :key AND created_at > :since
-- name: put
INSERT INTO idempotency_keys (caller, key, request_sha256, answer, created_at) VALUES (:caller, :key, :request_sha256, :answer, :now)
ON CONFLICT (caller, key) DO UPDATE SET request_sha256 = excluded.request_sha256, answer = excluded.answer, created_at = excluded.created_at
-- name: prune
DELETE FROM idempotency_keys WHERE rowid IN (SELECT rowid FROM idempotency_keys WHERE created_at < :before LIMIT :limit)
-- name: bytes
SELECT bytes FROM idempotency_usage WHERE one = 1
