-- What is known of the files that attempts left behind; the files themselves are elsewhere.
CREATE TABLE artifacts (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL,
    job {integer} NOT NULL,
    position {integer} NOT NULL,
    job_id TEXT NOT NULL,
    job_type TEXT NOT NULL,
    task_type TEXT NOT NULL,
    attempt {integer} NOT NULL,
    token {integer} NOT NULL,
    cache_key TEXT NOT NULL,
    name TEXT NOT NULL,
    form TEXT NOT NULL,
    size {integer} NOT NULL,
    sha256 TEXT NOT NULL,
    created_at {real} NOT NULL,
    expires_at {real} NOT NULL
);

CREATE INDEX artifacts_job ON artifacts (job_id);

CREATE INDEX artifacts_cache ON artifacts (cache_key);

CREATE INDEX artifacts_expiry ON artifacts (expires_at);
