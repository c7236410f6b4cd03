-- name: lock_migrations
-- A shared lock: backups do not exclude one another, and no migration starts while one of them reads.
SELECT pg_try_advisory_xact_lock_shared($1);

-- name: applied
SELECT number, name, sha256 FROM stoa_migrations ORDER BY number;

-- name: has_schema
-- Whether a Stoa has ever used this database.
SELECT to_regclass('public.stoa_migrations') IS NOT NULL;

-- name: has_vectors
SELECT to_regclass('public.knowledge_vectors') IS NOT NULL;

-- name: tables
-- Tables with their columns, in order, without generated ones. The rows of a child table are read through its parent.
SELECT c.relname AS name, array_agg(a.attname ORDER BY a.attnum)::text[] AS columns,
       EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid) AS parent
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
  AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid)
  AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
GROUP BY c.oid ORDER BY c.relname;

-- name: sequences
-- The last value that each sequence has returned; NULL where it has returned none. Sequences are not part of a
-- snapshot, so this is read after it.
SELECT sequencename AS name, last_value FROM pg_sequences WHERE schemaname = 'public' ORDER BY sequencename;

-- name: has_column
SELECT EXISTS (
    SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped
);

-- name: contents_of
-- The files that one column names.
SELECT '{directory}/' || org_id || '/' || project_id || '/' || encode({column}, 'hex') AS name FROM {table}
WHERE {column} IS NOT NULL;

-- name: all_names
SELECT name FROM ({names}) AS named;

-- name: rows_with_children
SELECT {columns} FROM {table};

-- name: names_content
SELECT EXISTS (SELECT 1 FROM {table} WHERE org_id = $1 AND project_id = $2 AND {column} = $3);

-- name: foreign_keys
SELECT format('%I', conname) AS name, conrelid::regclass::text AS "table", pg_get_constraintdef(oid) AS definition
FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND conparentid = 0
ORDER BY conname;

-- name: plain_indexes
-- Indexes that belong to no constraint.
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
  AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid)
ORDER BY 1;

-- name: vectors_are_shared
-- The vectors of a large index have a table of their own, which maintenance rebuilds.
UPDATE knowledge_indexes SET own_table = false, hnsw = false, removed = 0 WHERE own_table;

-- name: set_sequence
SELECT setval(('public.' || quote_ident($1))::regclass, $2);
