-- What somebody is to be told, written with the end that it is about.
CREATE TABLE notices (
    id TEXT PRIMARY KEY,
    job {integer} NOT NULL,
    org TEXT NOT NULL,
    job_id TEXT NOT NULL,
    job_type TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('email', 'slack', 'webhook')),
    event TEXT NOT NULL,
    target {blob} NOT NULL,
    payload {blob} NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('PENDING', 'SENT', 'DEAD')),
    attempts {integer} NOT NULL,
    next_at {real},
    created_at {real} NOT NULL,
    sent_at {real},
    error TEXT NOT NULL
){without_rowid};

CREATE INDEX notices_state ON notices (state, next_at);

CREATE INDEX notices_job ON notices (job);
