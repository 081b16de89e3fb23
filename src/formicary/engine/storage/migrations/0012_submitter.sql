-- Who submitted a job: its configurations are among those that the job sees.
ALTER TABLE jobs ADD COLUMN submitted_by TEXT;
