-- How an index reads texts. `form` is the version of the analysis: an index that is there keeps the first one and is
-- searched with it until its words are built anew from its chunks. `languages` are those of its items.
ALTER TABLE knowledge_indexes
    ADD COLUMN form int NOT NULL DEFAULT 1,
    ADD COLUMN languages text[] NOT NULL DEFAULT '{}';
ALTER TABLE knowledge_index_items
    ADD COLUMN language text,                               -- how its words are stemmed; null: as the index says
    ADD COLUMN title text NOT NULL DEFAULT '';
-- Titles do not get into the planner's statistics, where they would outlive their rows (0023).
ALTER TABLE knowledge_index_items
    ALTER COLUMN title SET STATISTICS 0,
    ALTER COLUMN language SET STATISTICS 0;
-- Names are words now: the first and the last word of an index may be a file's name, and must not outlive it either.
ALTER TABLE knowledge_postings ALTER COLUMN term SET STATISTICS 0;
ALTER TABLE knowledge_indexes ALTER COLUMN languages SET STATISTICS 0;
