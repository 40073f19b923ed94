-- name: version
SELECT max(number) FROM schema_migrations
-- name: quick_check
-- scan: the check reads the whole database; that is what it is for.
SELECT quick_check FROM pragma_quick_check LIMIT :faults
