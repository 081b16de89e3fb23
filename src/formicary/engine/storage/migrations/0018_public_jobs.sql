-- A job type that an organisation has not is looked for among those of the others.
CREATE INDEX definitions_by_type ON definitions (job_type, org, version);
