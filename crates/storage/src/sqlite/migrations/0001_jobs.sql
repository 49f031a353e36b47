-- Jobs. One row is the atomic unit; `n` numbers them in the order of their arrival, so that jobs that came
-- together lie together. Times are milliseconds since 1970, ids are their 16 bytes, `state` is as row.rs has it.
CREATE TABLE jobs (
    n                INTEGER PRIMARY KEY,
    tenant           TEXT    NOT NULL,
    id               BLOB    NOT NULL,
    state            INTEGER NOT NULL,
    lane             TEXT    NOT NULL,  -- queue/band/tenant while it is queued, else empty
    wake_at          INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    failed_at        INTEGER,
    deadline         INTEGER,
    job_type         TEXT    NOT NULL,
    queue            TEXT    NOT NULL,
    priority         INTEGER NOT NULL,
    attempt          INTEGER NOT NULL,
    max_attempts     INTEGER NOT NULL,
    claims           INTEGER NOT NULL,
    rescues          INTEGER NOT NULL,
    rings            INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    version          INTEGER NOT NULL,
    timeout_ms       INTEGER NOT NULL,
    run_at           INTEGER,
    started_at       INTEGER,
    finished_at      INTEGER,
    lease            BLOB,
    worker           BLOB,
    settled_by       BLOB,
    percent          INTEGER NOT NULL,
    message          TEXT,
    error            TEXT,              -- JSON
    backoff          TEXT    NOT NULL,  -- JSON
    tags             TEXT,              -- JSON, NULL when there are none
    trace            TEXT,
    fingerprint      BLOB,
    history          TEXT    NOT NULL   -- JSON
);
CREATE UNIQUE INDEX jobs_key ON jobs (tenant, id);
-- Every index that a state change rewrites costs every job: there is one.
CREATE INDEX jobs_duties ON jobs (state, lane, wake_at, id);
CREATE INDEX jobs_accepted ON jobs (tenant, created_at, id);
CREATE INDEX jobs_failed ON jobs (tenant, failed_at, id) WHERE failed_at IS NOT NULL;
CREATE INDEX jobs_deadline ON jobs (deadline, id) WHERE deadline IS NOT NULL AND state IN (0, 1);

-- Bodies, apart from their jobs, so that a change of state never rewrites them: the bytes, or a blob and its
-- length.
CREATE TABLE payloads (job INTEGER PRIMARY KEY, bytes BLOB, blob BLOB, length INTEGER NOT NULL);
CREATE TABLE texts    (job INTEGER PRIMARY KEY, bytes BLOB, blob BLOB, length INTEGER NOT NULL);
CREATE TABLE results  (job INTEGER PRIMARY KEY, bytes BLOB, blob BLOB, length INTEGER NOT NULL);

-- Line i of job n has k = 1000 n + i.
CREATE TABLE logs (k INTEGER PRIMARY KEY, at INTEGER NOT NULL, attempt INTEGER NOT NULL, message TEXT NOT NULL);

-- How many jobs there are; written once in each transaction.
CREATE TABLE job_counts (
    tenant TEXT    NOT NULL,
    queue  TEXT    NOT NULL,
    state  INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (tenant, queue, state)
) WITHOUT ROWID;

-- Blobs. `state` is 0 uploading, 1 committed, 2 named by its job, 3 to be deleted; `clock` is when an upload
-- expires, and from then on when it was committed.
CREATE TABLE blobs (
    b      INTEGER PRIMARY KEY,
    id     BLOB    NOT NULL UNIQUE,
    tenant TEXT    NOT NULL,
    job    BLOB    NOT NULL,
    state  INTEGER NOT NULL,
    clock  INTEGER NOT NULL,
    length INTEGER NOT NULL
);
CREATE INDEX blobs_owner ON blobs (tenant, job);
CREATE INDEX blobs_clock ON blobs (state, clock);
-- `start` is the place of the chunk's first byte in its blob.
CREATE TABLE chunks (b INTEGER NOT NULL, start INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (b, start)) WITHOUT ROWID;

-- Small records: JSON by kind and name.
CREATE TABLE records (kind TEXT NOT NULL, name TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE leader (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    holder BLOB    NOT NULL,
    until  INTEGER NOT NULL,
    json   TEXT    NOT NULL
);
