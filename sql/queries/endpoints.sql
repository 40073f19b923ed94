-- name: page
SELECT id, replica_id, address, port, healthy, last_checked_at, created_at, updated_at
FROM endpoints WHERE id > :after AND (:replica_id IS NULL OR replica_id = :replica_id) ORDER BY id LIMIT :limit
-- name: by_id
SELECT id, replica_id, address, port, healthy, last_checked_at, created_at, updated_at FROM endpoints WHERE id = :id
-- name: count
-- scan: counting reads the smallest index once.
SELECT count(*) FROM endpoints
-- name: count_of_replica
SELECT count(*) FROM endpoints WHERE replica_id = :replica_id
-- name: insert
INSERT INTO endpoints (id, replica_id, address, port, healthy, created_at, updated_at)
VALUES (:id, :replica_id, :address, :port, :healthy, :now, :now)
-- name: set_healthy
UPDATE endpoints SET healthy = :healthy, last_checked_at = :now, updated_at = :now WHERE id = :id
-- name: delete
DELETE FROM endpoints WHERE id = :id
