CREATE TABLE idempotency_keys (
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    job {integer} NOT NULL,
    job_id TEXT NOT NULL,
    created_at {real},
    PRIMARY KEY (org, key)
){without_rowid};
