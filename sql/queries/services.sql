-- name: page
SELECT id, name, description, spec, generation, created_at, updated_at, rollout_requested_at, rollback_requested_at, replicas_made,
    rollout_told, records_only
FROM services WHERE id > :after ORDER BY id LIMIT :limit
-- name: all
-- scan: the scheduler sees every service.
SELECT id, name, description, spec, generation, created_at, updated_at, rollout_requested_at, rollback_requested_at, replicas_made,
    rollout_told, records_only
FROM services
-- name: ids_and_names
-- scan: who is taken for whom is seen by comparing all.
SELECT id, name FROM services ORDER BY id
-- name: by_id
SELECT id, name, description, spec, generation, created_at, updated_at, rollout_requested_at, rollback_requested_at, replicas_made,
    rollout_told, records_only
FROM services WHERE id = :id
-- name: count
-- scan: counting reads the smallest index once.
SELECT count(*) FROM services
-- name: insert
INSERT INTO services (id, name, description, spec, generation, created_at, updated_at)
VALUES (:id, :name, :description, :spec, :generation, :now, :now)
-- name: update
UPDATE services SET description = :description, spec = :spec, generation = :generation,
    rollout_requested_at = :rollout_requested_at, rollback_requested_at = :rollback_requested_at, records_only = :records_only, updated_at = :now
WHERE id = :id
-- name: following_nodes
-- scan: over the replicas of one service.
SELECT DISTINCT node_id FROM replicas WHERE service_id = :id
    AND json_extract(status, '$.desired_generation') IS NULL AND json_extract(status, '$.applied_generation') IS NULL
-- name: replica_ids
-- scan: over the replicas of one service.
SELECT id FROM replicas WHERE service_id = :id ORDER BY id
-- name: count_made
UPDATE services SET replicas_made = replicas_made + :made WHERE id = :id
-- name: set_late_rollout
UPDATE services SET rollout_told = :generation WHERE id = :id
-- name: delete
DELETE FROM services WHERE id = :id
-- name: replicas_of
SELECT count(*) FROM replicas WHERE service_id = :id
-- name: delete_replicas
DELETE FROM replicas WHERE service_id = :id RETURNING node_id
-- name: add_revision
INSERT INTO service_revisions (service_id, generation, spec, spec_sha256, action, restored, created_by, created_at)
VALUES (:service_id, :generation, :spec, :spec_sha256, :action, :restored, :created_by, :now)
-- name: prune_revisions
DELETE FROM service_revisions WHERE service_id = :service_id AND generation <= :up_to
-- name: prune_large_revisions
-- scan: over the revisions of one service; octet_length reads no spec, only how long each is.
DELETE FROM service_revisions WHERE service_id = :service_id AND generation < :current AND generation <= (
    SELECT max(generation) FROM (
        SELECT generation, sum(octet_length(spec)) OVER (ORDER BY generation DESC) AS bytes
        FROM service_revisions WHERE service_id = :service_id)
    WHERE bytes > :bytes_max)
-- name: revision
SELECT service_id, generation, spec, spec_sha256, action, restored, created_by, created_at
FROM service_revisions WHERE service_id = :service_id AND generation = :generation
-- name: revisions
SELECT service_id, generation, spec, spec_sha256, action, restored, created_by, created_at
FROM service_revisions WHERE service_id = :service_id AND generation < :before ORDER BY generation DESC LIMIT :limit
-- name: count_revisions
SELECT count(*) FROM service_revisions WHERE service_id = :service_id
