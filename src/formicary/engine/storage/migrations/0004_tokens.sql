-- Who may call: of a token's secret only its hash is kept. A revoked token has no row any more.
CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    last4 TEXT NOT NULL,
    created_at {real} NOT NULL,
    expires_at {real}
);
