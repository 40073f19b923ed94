-- name: by_name
SELECT name, password_hash, password_version, role, must_change_password, password_is_seeded, created_at, updated_at FROM users
WHERE name = :name
-- name: page
SELECT name, role, must_change_password, created_at, updated_at FROM users WHERE name > :after ORDER BY name LIMIT :limit
-- name: count
-- scan: people are few.
SELECT count(*) FROM users
-- name: other_admins
-- scan: people are few.
SELECT count(*) FROM users WHERE role = 'admin' AND name <> :name
-- name: has_seeded_password
-- scan: people are few.
SELECT count(*) FROM users WHERE password_is_seeded
-- name: insert
INSERT INTO users (name, password_hash, role, must_change_password, created_at, updated_at)
VALUES (:name, :password_hash, :role, :must_change, :now, :now)
-- name: set_password
UPDATE users SET password_hash = :password_hash, password_version = password_version + 1, must_change_password = :must_change,
    password_is_seeded = 0, updated_at = :now
WHERE name = :name AND password_version = :version
-- name: set_role
UPDATE users SET role = :role, updated_at = :now WHERE name = :name
-- name: delete
DELETE FROM users WHERE name = :name
