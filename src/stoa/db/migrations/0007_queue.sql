-- Messages that wait for their turn: a run that is queued holds its message, and takes its place in the history when its turn comes.
ALTER TABLE runs ADD COLUMN queued_at timestamptz;          -- NULL: not, or no longer, in the queue
DROP INDEX runs_one_active;
CREATE UNIQUE INDEX runs_one_active ON runs (org_id, conversation_id) WHERE status IN ('created', 'started', 'paused') AND queued_at IS NULL;
CREATE INDEX runs_queued ON runs (org_id, conversation_id, queued_at) WHERE queued_at IS NOT NULL;
