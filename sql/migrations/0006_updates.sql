-- Updates of the fleet: ring after ring, each looked at before the next.
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
CREATE UNIQUE INDEX updates_id ON updates (id);
CREATE INDEX updates_open ON updates (seq) WHERE state IN ('running', 'paused', 'halted');
