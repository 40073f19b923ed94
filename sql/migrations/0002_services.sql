-- What runs: services with their history, replicas and why they are where they are, endpoints, router assignments; requests for
-- snapshots and bundles; answers that are given again; events that can be filtered.

-- Bookkeeping is kept beside the operator's spec, so that a later spec neither loses nor doubles it; reads lay it over the spec.
ALTER TABLE services ADD COLUMN rollout_requested_at INTEGER;
ALTER TABLE services ADD COLUMN rollback_requested_at INTEGER;
-- Replicas that the scheduler ever made for the service: their ids are made from it, so none comes twice.
ALTER TABLE services ADD COLUMN replicas_made INTEGER NOT NULL DEFAULT 0;

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

-- Why the replica is where it is, as JSON; absent where a client placed it.
ALTER TABLE replicas ADD COLUMN placement TEXT;

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
CREATE INDEX endpoints_replica ON endpoints (replica_id);

CREATE TABLE router_assignments (
    id                  TEXT PRIMARY KEY,
    node_id             TEXT NOT NULL,
    primary_router_id   TEXT NOT NULL,
    secondary_router_id TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    CHECK (primary_router_id <> secondary_router_id)
) STRICT;
CREATE INDEX router_assignments_node ON router_assignments (node_id);
CREATE INDEX router_assignments_primary ON router_assignments (primary_router_id);
CREATE INDEX router_assignments_secondary ON router_assignments (secondary_router_id);

-- Requests that agents carry out: etcd snapshots and support bundles. `result` is a snapshot's location or a bundle's path.
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
) STRICT;
CREATE UNIQUE INDEX runs_id ON runs (kind, id);
CREATE INDEX runs_order ON runs (kind, seq);

-- Answers to requests that carried an Idempotency-Key, given again for a day.
CREATE TABLE idempotency_keys (
    caller         TEXT NOT NULL,
    key            TEXT NOT NULL,
    -- SHA-256 of method, path and body: the key belongs to one request.
    request_sha256 TEXT NOT NULL,
    answer         TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
) STRICT;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

ALTER TABLE events ADD COLUMN node_id TEXT GENERATED ALWAYS AS (json_extract(fields, '$.node_id')) VIRTUAL;
CREATE INDEX events_node ON events (node_id, seq) WHERE node_id IS NOT NULL;
CREATE INDEX events_name ON events (name, seq);
CREATE INDEX events_created ON events (created_at);
