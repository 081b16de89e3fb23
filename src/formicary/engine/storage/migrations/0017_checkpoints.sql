-- What the attempts of a task leave for the next one: the last of them, null once it is dropped.
CREATE TABLE checkpoints (
    job {integer} NOT NULL,
    position {integer} NOT NULL,
    attempt {integer} NOT NULL,
    value {blob},
    written_at {real} NOT NULL,
    PRIMARY KEY (job, position)
){without_rowid};
