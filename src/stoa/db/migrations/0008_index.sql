-- The index of knowledge bases: chunks with their vectors and words. One index per base and generation.

CREATE TABLE knowledge_indexes (
    org_id           uuid NOT NULL,
    project_id       uuid NOT NULL,
    knowledgebase_id uuid NOT NULL,
    generation       int NOT NULL,
    index_id         bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    embedder         text NOT NULL,                     -- what made the vectors
    dimensions       int NOT NULL,
    language         text NOT NULL,                     -- how words are stemmed
    chunks           int NOT NULL DEFAULT 0,
    words            bigint NOT NULL DEFAULT 0,         -- of all chunks; both are what BM25 needs to know of the whole
    next_ordinal     int NOT NULL DEFAULT 0,
    unmerged         int NOT NULL DEFAULT 0,            -- blocks of postings written since they were last merged
    own_table        boolean NOT NULL DEFAULT false,    -- the vectors are in knowledge_vectors_<index_id>
    hnsw             boolean NOT NULL DEFAULT false,    -- … and have their index
    removed          int NOT NULL DEFAULT 0,            -- vectors deleted since that index was built
    PRIMARY KEY (org_id, knowledgebase_id, generation)
);

-- An item's chunks are one range of ordinals.
CREATE TABLE knowledge_index_items (
    org_id        uuid NOT NULL,
    project_id    uuid NOT NULL,
    index_id      bigint NOT NULL,
    item_id       uuid NOT NULL,
    metadata      jsonb NOT NULL,
    first_ordinal int NOT NULL,
    last_ordinal  int NOT NULL,                         -- first_ordinal - 1: no chunks
    words         bigint NOT NULL,
    terms         text[] NOT NULL,                      -- the postings that speak of it, so that a deletion finds every one
    PRIMARY KEY (org_id, index_id, item_id)
);

CREATE TABLE knowledge_chunks (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    index_id   bigint NOT NULL,
    ordinal    int NOT NULL,
    item_id    uuid NOT NULL,
    id         uuid NOT NULL,
    position   int NOT NULL,                            -- within its item, from 0
    page       int,
    heading    text,
    text       text NOT NULL,
    hash       bytea NOT NULL,                          -- of what was embedded
    PRIMARY KEY (org_id, index_id, ordinal)
);
CREATE INDEX knowledge_chunks_by_hash ON knowledge_chunks (org_id, project_id, hash);

-- The vectors of small indexes; those of a large one have a table of their own that inherits from this.
CREATE TABLE knowledge_vectors (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    index_id   bigint NOT NULL,
    ordinal    int NOT NULL,
    embedding  halfvec NOT NULL,
    PRIMARY KEY (org_id, index_id, ordinal)
);
-- Inline as long as a page can hold it: a scan reads every vector.
ALTER TABLE knowledge_vectors ALTER COLUMN embedding SET STORAGE MAIN;

-- Which chunks hold a word, a code or a piece of metadata. A block is an array of 8-byte records.
CREATE TABLE knowledge_postings (
    org_id        uuid NOT NULL,
    project_id    uuid NOT NULL,
    index_id      bigint NOT NULL,
    term          text COLLATE "C" NOT NULL,
    first_ordinal int NOT NULL,
    last_ordinal  int NOT NULL,
    count         int NOT NULL,
    records       bytea NOT NULL,
    PRIMARY KEY (org_id, index_id, term, first_ordinal)
);
ALTER TABLE knowledge_postings ALTER COLUMN records SET STORAGE EXTERNAL;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['knowledge_indexes', 'knowledge_index_items', 'knowledge_chunks', 'knowledge_vectors', 'knowledge_postings'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        -- The sub-selects are evaluated once per statement, not once per row: a scan of vectors is not to pay for them.
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = (SELECT stoa_org()) AND ((SELECT stoa_project()) IS NULL OR project_id = (SELECT stoa_project())))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
END $$;
