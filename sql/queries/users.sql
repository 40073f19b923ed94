-- name: by_name
SELECT name, password_hash, password_version, role FROM users WHERE name = :name
-- name: set_password
UPDATE users SET password_hash = :password_hash, password_version = password_version + 1, updated_at = :now
WHERE name = :name AND password_version = :version
