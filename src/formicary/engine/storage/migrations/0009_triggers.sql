-- Event triggers: one row says how far each has come, and changes in the commit that starts its job.
CREATE TABLE triggers (
    org TEXT NOT NULL,
    job_type TEXT NOT NULL,
    name TEXT NOT NULL,
    definition_id TEXT NOT NULL,
    version {integer} NOT NULL,
    spec {blob},
    paused {integer} NOT NULL,
    generation {integer} NOT NULL,
    mark {blob} NOT NULL,
    fired {integer} NOT NULL,
    last_at {real},
    last_job TEXT NOT NULL,
    window_at {real} NOT NULL,
    window_count {integer} NOT NULL,
    PRIMARY KEY (org, job_type, name)
){without_rowid};

-- Events that can start no job, with the reason.
CREATE TABLE trigger_letters (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL,
    job_type TEXT NOT NULL,
    name TEXT NOT NULL,
    event TEXT NOT NULL,
    reason TEXT NOT NULL,
    content {blob} NOT NULL,
    created_at {real} NOT NULL
);

CREATE INDEX trigger_letters_trigger ON trigger_letters (org, job_type, name, created_at);
