-- Questions to people, and their votes: both are written in the commit that changes what they are about.
CREATE TABLE approvals (
    job {integer} NOT NULL,
    position {integer} NOT NULL,
    attempt {integer} NOT NULL,
    org TEXT NOT NULL,
    job_id TEXT NOT NULL,
    job_type TEXT NOT NULL,
    task_type TEXT NOT NULL,
    policy {blob} NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('OPEN', 'APPROVED', 'REJECTED', 'WITHDRAWN')),
    asked_at {real} NOT NULL,
    deadline_at {real},
    escalated_at {real},
    decided_at {real},
    decided_by TEXT,
    PRIMARY KEY (job, position, attempt)
){without_rowid};

CREATE INDEX approvals_state ON approvals (state, org, job);

CREATE TABLE votes (
    job {integer} NOT NULL,
    position {integer} NOT NULL,
    attempt {integer} NOT NULL,
    voter TEXT NOT NULL,
    approves {integer} NOT NULL,
    comment TEXT NOT NULL,
    key TEXT NOT NULL,
    voted_at {real} NOT NULL,
    PRIMARY KEY (job, position, attempt, voter)
){without_rowid};
