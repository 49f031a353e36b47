-- The gates of a job; most have none. JSON. It is the last column: a row without it stays as it was written.
ALTER TABLE jobs ADD COLUMN gates TEXT;

-- Registers: JSON under `space/tenant/name`, of which only the name may hold more slashes, changed by comparing
-- `version`. `due_at` is when a duty must look at one, NULL for never.
CREATE TABLE registers (
    key     TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    due_at  INTEGER,
    json    TEXT    NOT NULL
) WITHOUT ROWID;
CREATE INDEX registers_due ON registers (due_at, key) WHERE due_at IS NOT NULL;
