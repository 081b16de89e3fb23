-- The colony's one row is the fence: every commit raises seq where the epoch is the writer's own.
CREATE TABLE colony (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch {integer} NOT NULL,
    seq {integer} NOT NULL,
    counter {integer} NOT NULL,
    last_number {integer} NOT NULL,
    last_order {integer} NOT NULL,
    holder TEXT NOT NULL
){in_place};

INSERT INTO colony (id, epoch, seq, counter, last_number, last_order, holder) VALUES (1, 0, 0, 0, 0, 0, '');

CREATE TABLE definitions (
    id TEXT PRIMARY KEY,
    org TEXT NOT NULL,
    job_type TEXT NOT NULL,
    version {integer} NOT NULL,
    source TEXT,
    methods {blob},
    path TEXT,
    filename TEXT,
    created_at {real}
);

CREATE UNIQUE INDEX definitions_version ON definitions (org, job_type, version);

CREATE TABLE jobs (
    number {number_key},
    id TEXT NOT NULL,
    org TEXT NOT NULL,
    definition_id TEXT NOT NULL,
    job_type TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN (
        'PENDING', 'EXECUTING', 'PAUSED', 'MANUAL_APPROVAL_REQUIRED', 'COMPLETED', 'FAILED', 'CANCELLED'
    )),
    priority {integer},
    submitted_at {real},
    scheduled_at {real},
    started_at {real},
    ended_at {real},
    execution {integer},
    retries {integer},
    pauses {integer},
    timer_at {real},
    deadline_at {real},
    clock_left_s {real},
    verdict TEXT,
    error_code TEXT,
    error_message TEXT,
    dead_letter {integer}
);

CREATE UNIQUE INDEX jobs_id ON jobs (id);

-- Start-up reads live jobs by it, lists go down it newest first, counts need nothing else.
CREATE INDEX jobs_state ON jobs (state{then_number});

CREATE TABLE params (
    number {number_key},
    params {blob},
    variables {blob}
);

CREATE TABLE tasks (
    job {integer} NOT NULL,
    position {integer} NOT NULL,
    state TEXT NOT NULL CHECK (state IN (
        'PENDING', 'READY', 'DISPATCHED', 'EXECUTING', 'WAITING', 'PAUSED', 'MANUAL_APPROVAL_REQUIRED',
        'COMPLETED', 'FAILED', 'CANCELLED', 'SKIPPED'
    )),
    attempts {integer},
    failures {integer},
    lost {integer},
    polls {integer},
    token {integer},
    ant TEXT,
    timer_at {real},
    started_at {real},
    ended_at {real},
    exit_code {integer},
    signal {integer},
    outputs {blob},
    error_code TEXT,
    error_message TEXT,
    traceback TEXT,
    rendered {blob},
    skipped {integer},
    routed_to {integer},
    ended_order {integer},
    PRIMARY KEY (job, position)
){without_rowid}{in_place};
