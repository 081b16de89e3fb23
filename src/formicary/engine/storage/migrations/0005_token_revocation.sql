-- A revoked token keeps its row, so that lists can say who had one, and until when.
ALTER TABLE tokens ADD COLUMN revoked_at {real};
