-- name: page
SELECT id, service_id, node_id, desired_state, status, placement, created_at, updated_at
FROM replicas WHERE id > :after ORDER BY id LIMIT :limit
-- name: page_of_service
-- scan: a service's replicas are sorted by id; there are at most some thousands.
SELECT id, service_id, node_id, desired_state, status, placement, created_at, updated_at
FROM replicas WHERE service_id = :service_id AND id > :after AND (:node_id IS NULL OR node_id = :node_id) ORDER BY id LIMIT :limit
-- name: page_of_node
-- scan: a node's replicas are sorted by id; there are at most some hundreds.
SELECT id, service_id, node_id, desired_state, status, placement, created_at, updated_at
FROM replicas WHERE node_id = :node_id AND id > :after ORDER BY id LIMIT :limit
-- name: all
-- scan: the scheduler sees every replica.
SELECT id, service_id, node_id, desired_state, status, placement, created_at, updated_at FROM replicas
-- name: of_node
-- scan: a node's replicas are sorted by id; there are at most some hundreds.
SELECT id, service_id, node_id, desired_state, status, placement, created_at, updated_at
FROM replicas WHERE node_id = :node_id ORDER BY id
-- name: by_id
SELECT id, service_id, node_id, desired_state, status, placement, created_at, updated_at FROM replicas WHERE id = :id
-- name: count
-- scan: counting reads the smallest index once.
SELECT count(*) FROM replicas
-- name: count_of_service
SELECT count(*) FROM replicas WHERE service_id = :service_id AND (:node_id IS NULL OR node_id = :node_id)
-- name: count_of_node
SELECT count(*) FROM replicas WHERE node_id = :node_id
-- name: insert
INSERT INTO replicas (id, service_id, node_id, desired_state, status, placement, created_at, updated_at)
VALUES (:id, :service_id, :node_id, :desired_state, :status, :placement, :now, :now)
-- name: update
UPDATE replicas SET node_id = :node_id, desired_state = :desired_state, status = :status, placement = :placement, updated_at = :now WHERE id = :id
-- name: report
UPDATE replicas SET status = :status, updated_at = :now WHERE id = :id
-- name: delete
DELETE FROM replicas WHERE id = :id
