-- People: who must change a password, sessions that can be listed and ended, API tokens; and in every event, who caused it.

ALTER TABLE users ADD COLUMN must_change_password INTEGER NOT NULL DEFAULT 0 CHECK (must_change_password IN (0, 1));
-- Whether the password is still the one of the seed, which everybody knows.
ALTER TABLE users ADD COLUMN password_is_seeded INTEGER NOT NULL DEFAULT 0 CHECK (password_is_seeded IN (0, 1));
UPDATE users SET password_is_seeded = 1 WHERE name = 'admin' AND password_version = 1;

CREATE TABLE sessions (
    id           TEXT PRIMARY KEY,
    user         TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    address      TEXT NOT NULL,
    user_agent   TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    -- Up to a minute old: reads do not write. The server knows better as long as it runs.
    last_seen_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_user ON sessions (user, created_at);
CREATE INDEX sessions_seen ON sessions (last_seen_at);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE api_tokens (
    id                TEXT PRIMARY KEY,
    name              TEXT NOT NULL,
    owner             TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    role              TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    -- SHA-256 of the secret, which is told once.
    token_hash        TEXT NOT NULL,
    expires_at        INTEGER NOT NULL,
    last_used_at      INTEGER,
    last_used_address TEXT,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX api_tokens_hash ON api_tokens (token_hash);
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (owner, name);
CREATE INDEX api_tokens_expiry ON api_tokens (expires_at);

-- Absent in events from before this was known.
ALTER TABLE events ADD COLUMN actor TEXT;
ALTER TABLE events ADD COLUMN address TEXT;
ALTER TABLE events ADD COLUMN request_id TEXT;
