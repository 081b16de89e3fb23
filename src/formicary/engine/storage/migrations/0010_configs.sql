-- Configurations that jobs see as variables; the values of secrets are encrypted.
CREATE TABLE configs (
    scope TEXT NOT NULL CHECK (scope IN ('system', 'org', 'user', 'job')),
    org TEXT NOT NULL,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    secret {integer} NOT NULL,
    value {blob} NOT NULL,
    key_id TEXT NOT NULL,
    created_at {real} NOT NULL,
    updated_at {real} NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (scope, org, owner, name)
);
