-- name: forget_sessions
-- scan: all of them go, once after a restore.
DELETE FROM sessions
-- name: forget_join_tokens
-- scan: all that were not used go, once after a restore; there are few.
DELETE FROM join_tokens WHERE used_at IS NULL
