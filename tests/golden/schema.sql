CREATE TRIGGER event_blocks_ended AFTER INSERT ON event_blocks BEGIN
    INSERT INTO event_finds (block, key, count, places)
    SELECT b.block, k.value, count(*), json_group_array(e.seq & 1023)
    FROM event_blocks b
    CROSS JOIN events e ON e.seq BETWEEN b.block << 10 AND (b.block << 10) + 1023
    CROSS JOIN json_each(json_array('', 'category=' || e.category, 'name=' || e.name, 'level=' || lower(e.level), 'node=' || e.node_id,
        'category=' || e.category || char(10) || 'level=' || lower(e.level))) k
    WHERE b.block < NEW.block AND b.newest_at IS NULL AND k.value IS NOT NULL
    GROUP BY b.block, k.value;
    UPDATE event_blocks SET (oldest_at, newest_at) = (
        SELECT min(created_at), max(created_at) FROM events
        WHERE seq BETWEEN event_blocks.block << 10 AND (event_blocks.block << 10) + 1023)
    WHERE block < NEW.block AND newest_at IS NULL;
END;
CREATE TRIGGER events_block AFTER INSERT ON events
WHEN NOT EXISTS (SELECT 1 FROM event_blocks WHERE block = NEW.seq >> 10) BEGIN
    INSERT INTO event_blocks (block) VALUES (NEW.seq >> 10);
END;
CREATE TRIGGER idempotency_keys_added AFTER INSERT ON idempotency_keys BEGIN
    UPDATE idempotency_usage SET bytes = bytes + octet_length(NEW.answer) WHERE one = 1;
END;
CREATE TRIGGER idempotency_keys_changed AFTER UPDATE OF answer ON idempotency_keys BEGIN
    UPDATE idempotency_usage SET bytes = bytes + octet_length(NEW.answer) - octet_length(OLD.answer) WHERE one = 1;
END;
CREATE TRIGGER idempotency_keys_removed AFTER DELETE ON idempotency_keys BEGIN
    UPDATE idempotency_usage SET bytes = bytes - octet_length(OLD.answer) WHERE one = 1;
END;
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
CREATE TABLE brake_fleet (node_id TEXT PRIMARY KEY) STRICT;
CREATE TABLE cluster_settings (
    key        TEXT PRIMARY KEY,
    value      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE TABLE endpoints (
    id              TEXT PRIMARY KEY,
    replica_id      TEXT NOT NULL REFERENCES replicas (id) ON DELETE CASCADE,
    address         TEXT NOT NULL,
    port            INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    healthy         INTEGER NOT NULL CHECK (healthy IN (0, 1)),
    last_checked_at INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;
CREATE TABLE event_blocks (
    block     INTEGER PRIMARY KEY, -- seq >> 10
    -- Times of its events; NULL until the next block begins. Until then the block is read as a whole.
    oldest_at INTEGER,
    newest_at INTEGER
) STRICT;
CREATE TABLE event_finds (
    seq    INTEGER PRIMARY KEY,
    block  INTEGER NOT NULL REFERENCES event_blocks (block) ON DELETE CASCADE,
    key    TEXT NOT NULL,
    count  INTEGER NOT NULL,
    -- JSON: places in the block.
    places TEXT NOT NULL
) STRICT;
CREATE TABLE "events" (
    -- Never used twice: each follows the newest, which stays.
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL,
    -- True if the id does not end with the number: a client's own, or one from before.
    id_given   INTEGER NOT NULL DEFAULT 0 CHECK (id_given IN (0, 1)),
    category   TEXT NOT NULL,
    name       TEXT NOT NULL,
    level      TEXT NOT NULL,
    fields     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    actor      TEXT,
    address    TEXT,
    request_id TEXT,
    node_id    TEXT GENERATED ALWAYS AS (json_extract(fields, '$.node_id')) VIRTUAL
) STRICT;
CREATE TABLE idempotency_keys (
    caller         TEXT NOT NULL,
    key            TEXT NOT NULL,
    -- SHA-256 of method, path and body: the key belongs to one request.
    request_sha256 TEXT NOT NULL,
    answer         TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
) STRICT;
CREATE TABLE idempotency_usage (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE join_tokens (
    id         TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL,
    role       TEXT NOT NULL CHECK (role IN ('core', 'worker', 'gateway')),
    -- Where set, the only node this token admits, even while that node is alive.
    node_id    TEXT,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    used_by    TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
, mesh_ip TEXT) STRICT;
CREATE TABLE leases (
    node_seq       INTEGER PRIMARY KEY REFERENCES nodes (seq) ON DELETE CASCADE,
    heartbeat_at_s INTEGER NOT NULL,
    signed_at_s    INTEGER NOT NULL,
    ttl_s          INTEGER NOT NULL,
    -- The last transition that was recorded as an event.
    state          INTEGER NOT NULL CHECK (state IN (0, 1, 2)) -- alive, stale, dead
) STRICT;
CREATE TABLE node_runs (
    node_seq   INTEGER PRIMARY KEY REFERENCES nodes (seq) ON DELETE CASCADE,
    -- JSON: a run.
    kept       TEXT NOT NULL,
    -- JSON: a list of runs.
    refused    TEXT NOT NULL,
    found_at   INTEGER NOT NULL,
    -- When an operator decided; none: nobody has yet.
    decided_at INTEGER
) STRICT;
CREATE TABLE nodes (
    -- The narrow lease rows point at this number, so that a flush of thousands touches few pages.
    seq                  INTEGER PRIMARY KEY,
    id                   TEXT NOT NULL,
    name                 TEXT NOT NULL,
    roles                TEXT NOT NULL,
    labels               TEXT NOT NULL,
    mesh_ip              TEXT,
    status               TEXT NOT NULL,
    api_endpoint         TEXT,
    identity_fingerprint TEXT,
    identity_expires_at  INTEGER,
    -- SubjectPublicKeyInfo (DER) of the enrolled key.
    identity_key         BLOB,
    created_at           INTEGER NOT NULL,
    updated_at           INTEGER NOT NULL
, identity_trust TEXT, capacity TEXT, reserved TEXT, mesh_ip_given TEXT) STRICT;
CREATE TABLE replicas (
    id            TEXT PRIMARY KEY,
    service_id    TEXT NOT NULL REFERENCES services (id),
    -- Not a foreign key: a node deleted by force leaves its replicas to the scheduler, which places them anew.
    node_id       TEXT NOT NULL,
    desired_state TEXT NOT NULL DEFAULT 'running',
    status        TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
, placement TEXT) STRICT;
CREATE TABLE router_assignments (
    id                  TEXT PRIMARY KEY,
    node_id             TEXT NOT NULL,
    primary_router_id   TEXT NOT NULL,
    secondary_router_id TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    CHECK (primary_router_id <> secondary_router_id)
) STRICT;
CREATE TABLE runs (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT NOT NULL CHECK (kind IN ('snapshot', 'bundle')),
    id           TEXT NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('pending', 'running', 'completed', 'failed')),
    result       TEXT,
    requested_by TEXT,
    error        TEXT,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
, with_values INTEGER NOT NULL DEFAULT 0 CHECK (with_values IN (0, 1))) STRICT;
CREATE TABLE schema_migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT;
CREATE TABLE service_revisions (
    service_id   TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE,
    generation   INTEGER NOT NULL,
    spec         TEXT NOT NULL,
    spec_sha256  TEXT NOT NULL,
    -- create, update, rollout or rollback
    action       TEXT NOT NULL CHECK (action IN ('create', 'update', 'rollout', 'rollback')),
    -- The generation whose spec a rollback put back.
    restored     INTEGER,
    created_by   TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (service_id, generation)
) STRICT;
CREATE TABLE services (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    description TEXT,
    spec        TEXT NOT NULL,
    generation  INTEGER NOT NULL DEFAULT 1 CHECK (generation >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
, rollout_requested_at INTEGER, rollback_requested_at INTEGER, replicas_made INTEGER NOT NULL DEFAULT 0, rollout_told INTEGER NOT NULL DEFAULT 0, records_only INTEGER NOT NULL DEFAULT 0 CHECK (records_only IN (0, 1))) STRICT;
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
CREATE TABLE sqlite_sequence(name,seq);
CREATE TABLE updates (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL,
    channel       TEXT NOT NULL,
    version       TEXT NOT NULL,
    ring_label    TEXT NOT NULL,
    -- JSON: the label's value of each ring, in their order; * is every node that is in no other.
    rings         TEXT NOT NULL,
    wait_seconds  INTEGER NOT NULL,
    lost_max      INTEGER NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('running', 'paused', 'halted', 'completed', 'cancelled')),
    reason        TEXT,
    -- The ring that is updated now, from 0; it grows with each.
    ring          INTEGER NOT NULL DEFAULT 0,
    -- It grows with each resumption: nodes that failed try again under another id.
    attempt       INTEGER NOT NULL DEFAULT 1,
    -- JSON: the nodes that lived when their ring began, and must go on to.
    watched       TEXT NOT NULL DEFAULT '[]',
    -- Since when the whole ring is at the version.
    ring_done_at  INTEGER,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;
CREATE TABLE users (
    name             TEXT PRIMARY KEY,
    password_hash    TEXT NOT NULL,
    -- Raised with every change of the password; a session made under another version is void.
    password_version INTEGER NOT NULL DEFAULT 1,
    role             TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL
, must_change_password INTEGER NOT NULL DEFAULT 0 CHECK (must_change_password IN (0, 1)), password_is_seeded INTEGER NOT NULL DEFAULT 0 CHECK (password_is_seeded IN (0, 1))) STRICT;
CREATE INDEX api_tokens_expiry ON api_tokens (expires_at);
CREATE UNIQUE INDEX api_tokens_hash ON api_tokens (token_hash);
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (owner, name);
CREATE INDEX endpoints_replica ON endpoints (replica_id);
CREATE UNIQUE INDEX event_finds_key ON event_finds (block, key, count);
CREATE UNIQUE INDEX events_id ON events (id) WHERE id_given = 1;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CREATE INDEX join_tokens_expiry ON join_tokens (expires_at);
CREATE UNIQUE INDEX join_tokens_hash ON join_tokens (token_hash);
CREATE INDEX nodes_folded_id ON nodes (lower(id)) WHERE lower(id) <> id;
CREATE INDEX nodes_folded_name ON nodes (lower(trim(name))) WHERE lower(trim(name)) <> name;
CREATE UNIQUE INDEX nodes_id ON nodes (id);
CREATE UNIQUE INDEX nodes_name ON nodes (name);
CREATE INDEX replicas_node ON replicas (node_id);
CREATE INDEX replicas_service ON replicas (service_id);
CREATE INDEX router_assignments_node ON router_assignments (node_id);
CREATE INDEX router_assignments_primary ON router_assignments (primary_router_id);
CREATE INDEX router_assignments_secondary ON router_assignments (secondary_router_id);
CREATE UNIQUE INDEX runs_id ON runs (kind, id);
CREATE INDEX runs_order ON runs (kind, seq);
CREATE UNIQUE INDEX services_name ON services (name);
CREATE INDEX sessions_expiry ON sessions (expires_at);
CREATE INDEX sessions_seen ON sessions (last_seen_at);
CREATE INDEX sessions_user ON sessions (user, created_at);
CREATE UNIQUE INDEX updates_id ON updates (id);
CREATE INDEX updates_open ON updates (seq) WHERE state IN ('running', 'paused', 'halted');
