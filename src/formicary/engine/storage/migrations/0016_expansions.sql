-- What a template has made of a version for one job is no version: many rows may say -n.
DROP INDEX definitions_version;

CREATE UNIQUE INDEX definitions_version ON definitions (org, job_type, version) WHERE version > 0;
