-- Jobs that start by themselves: one row says what is due next, and changes in the commit that starts the job.
CREATE TABLE schedules (
    org TEXT NOT NULL,
    job_type TEXT NOT NULL,
    name TEXT NOT NULL,
    definition_id TEXT NOT NULL,
    version {integer} NOT NULL,
    spec {blob},
    next_at {real},
    paused {integer} NOT NULL,
    last_at {real},
    last_job TEXT NOT NULL,
    waiting {blob} NOT NULL,
    PRIMARY KEY (org, job_type, name)
){without_rowid};
