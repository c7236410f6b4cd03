-- How an index reads texts. `form` is the version of the analysis: indexes that are there keep the first one, and are searched with it, until they are
-- built anew from their chunks. `languages` are those of its items, the most frequent of them first to come.
ALTER TABLE knowledge_indexes
    ADD COLUMN form int NOT NULL DEFAULT 1,
    ADD COLUMN languages text[] NOT NULL DEFAULT '{}';
ALTER TABLE knowledge_index_items
    ADD COLUMN language text,                               -- how its words are stemmed; null: the index's
    ADD COLUMN title text NOT NULL DEFAULT '';
