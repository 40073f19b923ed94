-- name: all
-- scan: loaded into the lease table, once at start; nodes with two holders are few.
SELECT n.id, r.kept, r.refused, r.found_at, r.decided_at FROM node_runs r CROSS JOIN nodes n ON n.seq = r.node_seq
-- name: put
INSERT INTO node_runs (node_seq, kept, refused, found_at, decided_at) VALUES (:seq, :kept, :refused, :found_at, :decided_at)
ON CONFLICT (node_seq) DO UPDATE SET kept = excluded.kept, refused = excluded.refused, found_at = excluded.found_at, decided_at = excluded.decided_at
-- name: delete
DELETE FROM node_runs WHERE node_seq = :seq
