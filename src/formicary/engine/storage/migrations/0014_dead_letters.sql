-- Jobs that no retry will help: one row per execution that ended so, written in the commit of that end.
CREATE TABLE dead_letters (
    job {integer} NOT NULL,
    execution {integer} NOT NULL,
    org TEXT NOT NULL,
    job_id TEXT NOT NULL,
    job_type TEXT NOT NULL,
    queue TEXT NOT NULL,
    reason TEXT NOT NULL,
    task_type TEXT NOT NULL,
    error_code TEXT,
    error_message TEXT,
    attempts {integer} NOT NULL,
    alert {integer} NOT NULL,
    dead_at {real} NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('DEAD', 'REDRIVEN', 'PURGED')),
    changed_at {real},
    redrive_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (job, execution)
){without_rowid};

CREATE INDEX dead_letters_state ON dead_letters (state, org, job);

CREATE INDEX dead_letters_key ON dead_letters (org, redrive_key);

-- What parts of the engine have to remember beside the jobs, each by its kind: a JSON value, null = forgotten.
CREATE TABLE states (
    kind TEXT NOT NULL,
    org TEXT NOT NULL,
    name TEXT NOT NULL,
    value {blob},
    updated_at {real} NOT NULL,
    PRIMARY KEY (kind, org, name)
){without_rowid};
