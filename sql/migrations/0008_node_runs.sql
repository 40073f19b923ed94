-- Nodes whose identity two machines have (a copied card or image): which run of the agent stays, and which are refused. A restart of the
-- server must not let the refused ones in.
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
