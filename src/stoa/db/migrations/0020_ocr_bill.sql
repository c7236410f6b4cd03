-- What a model reads from pictures of pages stands on the bill like what it answers.

-- What a call was for: a run, or a page that was read ('ocr') for a knowledge base. A deletion of the base empties its column and leaves the amounts.
ALTER TABLE model_calls ADD COLUMN kind text NOT NULL DEFAULT 'run', ADD COLUMN knowledgebase_id uuid;
CREATE INDEX model_calls_of_base ON model_calls (org_id, knowledgebase_id) WHERE knowledgebase_id IS NOT NULL;

-- Whose bill the reading of an item is on: the key that asked last for it to be read. NULL: whoever uploaded it.
ALTER TABLE knowledge_items ADD COLUMN paid_by uuid;

-- The line of the bill that a page stands on, written with it. An older server that still runs beside leaves it out; the doctor finds that.
ALTER TABLE knowledge_transcripts ADD COLUMN call_id bigint;

-- Whether a base's pages without text go to a model at all: its pictures leave the server.
ALTER TABLE knowledgebases ADD COLUMN ocr text NOT NULL DEFAULT 'auto' CHECK (ocr IN ('auto', 'off'));

-- What people and models write does not get into the planner's statistics, where it would outlive them (0011).
ALTER TABLE knowledge_transcripts ALTER COLUMN text SET STATISTICS 0;
