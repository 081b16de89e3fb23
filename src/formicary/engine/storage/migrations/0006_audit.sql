-- Who changed what: rows are added and, when they are old, removed; nothing changes one.
CREATE TABLE audit (
    number {counted_key},
    time {real} NOT NULL,
    org TEXT NOT NULL,
    principal TEXT NOT NULL,
    method TEXT NOT NULL,
    resource TEXT NOT NULL,
    code TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    remote TEXT NOT NULL,
    protocol TEXT NOT NULL,
    suppressed {integer} NOT NULL
);

CREATE INDEX audit_time ON audit (time);
