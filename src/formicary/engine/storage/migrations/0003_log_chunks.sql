-- only: postgresql
-- A chunk is what one flush found buffered for one attempt; beside SQLite the same lines stand in files.
CREATE TABLE log_chunks (
    job_id TEXT NOT NULL,
    first_seq {integer} NOT NULL,
    last_seq {integer} NOT NULL,
    task_type TEXT NOT NULL,
    attempt {integer} NOT NULL,
    size_bytes {integer} NOT NULL,
    line_count {integer} NOT NULL,
    missing {integer} NOT NULL,
    lines {blob} NOT NULL,
    PRIMARY KEY (job_id, first_seq)
);
