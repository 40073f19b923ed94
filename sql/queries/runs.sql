-- name: page
SELECT id, status, result, requested_by, error, with_values, created_at, updated_at FROM runs
WHERE kind = :kind AND seq < :before ORDER BY seq DESC LIMIT :limit
-- name: by_id
SELECT id, status, result, requested_by, error, with_values, created_at, updated_at FROM runs WHERE kind = :kind AND id = :id
-- name: seq_of
SELECT seq FROM runs WHERE kind = :kind AND id = :id
-- name: count
SELECT count(*) FROM runs WHERE kind = :kind
-- name: insert
INSERT INTO runs (kind, id, status, requested_by, with_values, created_at, updated_at)
VALUES (:kind, :id, 'pending', :requested_by, :with_values, :now, :now)
-- name: update
UPDATE runs SET status = :status, result = :result, error = :error, updated_at = :now WHERE kind = :kind AND id = :id
-- name: delete
DELETE FROM runs WHERE kind = :kind AND id = :id
-- name: of_status
SELECT id, status, result, requested_by, error, with_values, created_at, updated_at FROM runs WHERE kind = :kind AND status = :status ORDER BY seq LIMIT :limit
