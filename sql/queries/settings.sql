-- name: page
SELECT key, value, created_at, updated_at FROM cluster_settings WHERE key > :after ORDER BY key LIMIT :limit
-- name: count
-- scan: there are few settings.
SELECT count(*) FROM cluster_settings
-- name: by_key
SELECT key, value, created_at, updated_at FROM cluster_settings WHERE key = :key
-- name: put
INSERT INTO cluster_settings (key, value, created_at, updated_at) VALUES (:key, :value, :now, :now)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at
