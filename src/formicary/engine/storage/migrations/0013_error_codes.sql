-- Rules that name failed attempts and say what follows from them.
CREATE TABLE error_codes (
    org TEXT NOT NULL,
    name TEXT NOT NULL,
    job_type TEXT NOT NULL,
    task_type TEXT NOT NULL,
    platform TEXT NOT NULL,
    exit_code {integer},
    pattern TEXT NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('', 'RETRY_TASK', 'RETRY_JOB', 'HARD_FAILURE')),
    retry {integer} NOT NULL,
    created_at {real} NOT NULL,
    updated_at {real} NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (org, name)
);
