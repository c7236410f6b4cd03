-- The rows of `bench/growth.py`: made by the database itself, from their numbers alone, so that a killed fill goes on
-- where it was.
-- $1 organization, $2 model, $3 the first and $4 the last conversation, $5 how many there are in all, $6 key, $7
-- projects.
-- A conversation has five runs, ten messages and fifty events. Hashes and bills are true: the doctor finds nothing.

-- name: functions
-- Version 7 ids that follow from what they name; moments spread over thirty days, the newest three hours ago; texts of
-- a vocabulary of 20,000 words.
CREATE SCHEMA IF NOT EXISTS growth;
CREATE TABLE IF NOT EXISTS growth.clock (until timestamptz NOT NULL);
CREATE OR REPLACE FUNCTION growth.moment(n bigint, total bigint) RETURNS timestamptz LANGUAGE sql STABLE AS
    'SELECT (SELECT until FROM growth.clock) - (total - n) * (interval ''30 days'' / total)';
CREATE OR REPLACE FUNCTION growth.id(moment timestamptz, kind text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    $$ SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '7' || substr(md5(kind || n), 1, 3)
               || '8' || substr(md5(kind || n), 4, 15))::uuid $$;
CREATE TABLE IF NOT EXISTS growth.done (last bigint PRIMARY KEY);
CREATE TABLE IF NOT EXISTS growth.filled (kind text, last bigint, PRIMARY KEY (kind, last));
INSERT INTO growth.filled SELECT 'conversations', last FROM growth.done ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS growth.sentences (n int PRIMARY KEY, text text NOT NULL);
INSERT INTO growth.clock SELECT now() - interval '3 hours' WHERE NOT EXISTS (SELECT 1 FROM growth.clock);
INSERT INTO growth.sentences
SELECT n, string_agg('w' || (power(('x' || substr(md5(n || '-' || w), 1, 7))::bit(28)::int / 268435456.0,
    3) * 20000)::int, ' ')
FROM generate_series(0, 1999) n CROSS JOIN generate_series(1, 12) w WHERE NOT EXISTS (SELECT 1 FROM growth.sentences)
    GROUP BY n;

-- name: projects
INSERT INTO projects (org_id, id, name)
SELECT $1, growth.id(now(), 'project', n), 'Growth ' || n FROM generate_series(1, $2::int) n;

-- name: places
-- The projects by number; 0 is the first key's own.
CREATE TEMP TABLE growth_projects AS SELECT id, row_number() OVER (ORDER BY created_at, id) - 1 AS place FROM projects;
ANALYZE growth_projects;

-- name: rows
-- All rows of the conversations $3 to $4.
WITH numbered AS (
    SELECT n, growth.moment(n, $5) AS at, (SELECT id FROM growth_projects WHERE place = CASE WHEN n % 2 = 0 THEN 0
        ELSE n / 2 % $7 END) AS project
    FROM generate_series($3::bigint, $4::bigint) n
), talks AS MATERIALIZED (
    SELECT n, at, project, growth.id(at, 'conversation', n) AS id FROM numbered
), made AS MATERIALIZED (
    SELECT t.n * 5 + r AS run, t.n, r, t.project, t.id AS talk, t.at + r * interval '1 second' AS at,
           growth.id(t.at + r * interval '1 second', 'run', t.n * 5 + r) AS id,
               growth.id(t.at + r * interval '1 second', 'ask', t.n * 5 + r) AS ask
    FROM talks t CROSS JOIN generate_series(0, 4) r
), said AS MATERIALIZED (
    SELECT m.*, q.text || CASE WHEN run % 97 = 0 THEN ' sometimes' ELSE '' END || CASE WHEN run % 50000 = 7
        THEN ' zanzibar' ELSE '' END AS question,
           a.text || ' n' || run AS answer
    FROM made m JOIN growth.sentences q ON q.n = abs(hashint8(m.run)) % 2000
        JOIN growth.sentences a ON a.n = abs(hashint8(m.run + 7)) % 2000
), told AS MATERIALIZED (
    SELECT id, s AS sequence, CASE s WHEN 1 THEN 1 ELSE 3 END AS kind,
           convert_to(format('{"id":"%s-%s","sequence":%s,"type":"%s","data":{"delta":"%s"}}', id, s, s,
                             CASE s WHEN 1 THEN 'run.started'
                                 ELSE 'response.delta' END, substr(answer, s * 9, 9)), 'UTF8') AS payload
    FROM said CROSS JOIN generate_series(1, 9) s
), ended AS (
    SELECT id, sha256(string_agg(payload || '\x0a'::bytea, ''::bytea ORDER BY sequence)) AS hash FROM told GROUP BY id
), conversations_made AS (
    INSERT INTO conversations (org_id, project_id, id, title, model_id, user_id, message_count, created_by, created_at,
        updated_at)
    SELECT $1, project, id, 'Talk ' || n, $2, 'user' || n % 5000, 10, $6, at, at + interval '5 seconds' FROM talks
), runs_made AS (
    INSERT INTO runs (org_id, project_id, id, conversation_id, message_id, message_position, model_id, status, options,
        input, output, usage, attempt,
                      created_by, created_at, started_at, ended_at)
    SELECT $1, project, id, talk, ask, r * 2 + 1, $2, 'completed', '{}'::jsonb, jsonb_build_object('content',
        jsonb_build_array(jsonb_build_object('type', 'text', 'text', question))),
           answer, '{"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "cost_usd": 0.001}'::jsonb, 1,
               $6, at, at, at + interval '1 second' FROM said
), journals_made AS (
    INSERT INTO journals (org_id, project_id, run_id, epoch, last_sequence, sealed)
    SELECT $1, project, id, 1, 10, true FROM said
), events_made AS (
    INSERT INTO events (org_id, project_id, run_id, sequence, kind, payload)
    SELECT $1, s.project, t.id, t.sequence, t.kind, t.payload FROM told t JOIN said s USING (id)
    UNION ALL
    SELECT $1, s.project, s.id, 10, 16, convert_to(format(
        '{"id":"%s-10","sequence":10,"type":"run.completed",'
        '"data":{"status":"completed","log":{"events":9,"sha256":"%s"}}}',
        s.id, encode(e.hash, 'hex')), 'UTF8')
    FROM said s JOIN ended e USING (id)
), calls_made AS (
    INSERT INTO model_calls (org_id, project_id, run_id, conversation_id, key_id, user_id, model, prompt_tokens,
        completion_tokens, cached_tokens, reasoning_tokens, estimated, cost_usd, at)
    SELECT $1, project, id, talk, $6, 'user' || n % 5000, 'growth/model-' || run % 4, 100, 20, 0, 0, false, 0.001, at
        FROM said
)
INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status, run_id, usage,
    created_at)
SELECT $1, project, talk, r * 2 + 1, ask, 'user', jsonb_build_array(jsonb_build_object('type', 'text', 'text',
    question)), question, 'completed', id, NULL::jsonb, at FROM said
UNION ALL
SELECT $1, project, talk, r * 2 + 2, growth.id(at, 'answer', run), 'assistant',
    jsonb_build_array(jsonb_build_object('type', 'text', 'text', answer)), answer,
       'completed', id, '{"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}'::jsonb,
           at + interval '1 second' FROM said;

-- name: more_projects
-- So many in all: those that are left have traces and a knowledge base each.
INSERT INTO projects (org_id, id, name)
SELECT $1, growth.id(now(), 'more', n), 'Growth ' || n
FROM generate_series((SELECT count(*) FROM projects) + 1, $2::int) n;

-- name: traces
-- Traces of other programs, $2 to $3 of $4: one root and four steps each.
WITH numbered AS (
    SELECT n, growth.moment(n, $4) AS at, (SELECT id FROM growth_projects WHERE place = CASE WHEN n % 2 = 0 THEN 0
        ELSE n / 2 % (SELECT count(*) FROM growth_projects) END) AS project
    FROM generate_series($2::bigint, $3::bigint) n
), made AS (
    INSERT INTO traces (org_id, project_id, id, wire, name, status, started_at, ended_at, last_ended_at, session_id,
        models, span_count, root_count, head_id, head_started_at, head_status, prompt_tokens, completion_tokens,
        received_at)
    SELECT $1, project, md5('trace' || n), 'sdk', 'Answer', 'succeeded', at, at + interval '5 seconds',
        at + interval '5 seconds', 'session-' || n / 5, ARRAY['growth/model'], 5, 1, 'root-' || n, at, 'succeeded',
        400, 80, at + interval '6 seconds'
    FROM numbered
)
INSERT INTO spans (org_id, project_id, trace_id, id, parent_id, wire, name, type, status, started_at, ended_at, model,
    session_id, prompt_tokens, completion_tokens, body, received_at)
SELECT $1, project, md5('trace' || t.n), CASE s WHEN 0 THEN 'root-' ELSE 'step-' || s || '-' END || t.n,
    CASE WHEN s > 0 THEN 'root-' || t.n END, 'sdk', CASE s WHEN 0 THEN 'Answer' ELSE 'Step ' || s END,
    CASE s WHEN 0 THEN 'workflow' ELSE 'node' END, 'succeeded', at + s * interval '1 second',
    at + CASE s WHEN 0 THEN 5 ELSE s + 1 END * interval '1 second', CASE WHEN s > 0 THEN 'growth/model' END,
    'session-' || t.n / 5, CASE WHEN s > 0 THEN 100 END, CASE WHEN s > 0 THEN 20 END,
    jsonb_build_object('id', s || '-' || t.n, 'name', 'Step ' || s, 'input', q.text, 'output', a.text || ' t' || t.n,
        'metadata', jsonb_build_object('node', jsonb_build_object('id', 'node-' || s))),
    at + interval '6 seconds'
FROM numbered t CROSS JOIN generate_series(0, 4) s
    JOIN growth.sentences q ON q.n = abs(hashint8(t.n)) % 2000
    JOIN growth.sentences a ON a.n = abs(hashint8(t.n * 5 + s)) % 2000;

-- name: base_copies
-- Copies $2 to $3 of the knowledge base $1, whose items are processed: in its project, which has the files, with ids of
-- their own.
WITH source AS (
    SELECT b.org_id, b.project_id, b.id, i.index_id FROM knowledgebases b JOIN knowledge_indexes i
        ON i.org_id = b.org_id AND i.knowledgebase_id = b.id WHERE b.id = $1
), copies AS MATERIALIZED (
    SELECT n, growth.id(now(), 'base', n) AS base,
        (SELECT project_id FROM source) AS project
    FROM generate_series($2::bigint, $3::bigint) n
), bases AS (
    INSERT INTO knowledgebases
    SELECT r.* FROM copies c CROSS JOIN source s JOIN knowledgebases b ON b.org_id = s.org_id AND b.id = s.id
        CROSS JOIN LATERAL jsonb_populate_record(b, jsonb_build_object('id', c.base, 'project_id', c.project,
            'name', 'Growth ' || c.n)) r
), items AS (
    INSERT INTO knowledge_items
    SELECT r.* FROM copies c CROSS JOIN source s JOIN knowledge_items i ON i.org_id = s.org_id
            AND i.knowledgebase_id = s.id
        CROSS JOIN LATERAL jsonb_populate_record(i, jsonb_build_object('id', growth.id(now(), 'item' || i.id, c.n),
            'project_id', c.project, 'knowledgebase_id', c.base)) r
), indexes AS (
    INSERT INTO knowledge_indexes (org_id, project_id, knowledgebase_id, generation, embedder, dimensions, language,
        chunks, words, next_ordinal, form, languages)
    SELECT i.org_id, c.project, c.base, i.generation, i.embedder, i.dimensions, i.language, i.chunks, i.words,
        i.next_ordinal, i.form, i.languages
    FROM copies c CROSS JOIN source s JOIN knowledge_indexes i ON i.index_id = s.index_id
    RETURNING org_id, project_id, knowledgebase_id, index_id
), made AS MATERIALIZED (
    SELECT x.index_id AS target, c.n, c.project, s.index_id AS source, s.org_id
    FROM indexes x JOIN copies c ON c.base = x.knowledgebase_id CROSS JOIN source s
), entries AS (
    INSERT INTO knowledge_index_items
    SELECT r.* FROM made m JOIN knowledge_index_items i ON i.org_id = m.org_id AND i.index_id = m.source
        CROSS JOIN LATERAL jsonb_populate_record(i, jsonb_build_object('index_id', m.target, 'project_id', m.project,
            'item_id', growth.id(now(), 'item' || i.item_id, m.n))) r
), chunks AS (
    INSERT INTO knowledge_chunks (org_id, project_id, index_id, ordinal, item_id, id, position, page, heading, text,
        hash, place)
    SELECT k.org_id, m.project, m.target, k.ordinal, growth.id(now(), 'item' || k.item_id, m.n),
        growth.id(now(), 'chunk' || m.target, k.ordinal),
        k.position, k.page, k.heading, k.text, k.hash, k.place
    FROM made m JOIN knowledge_chunks k ON k.org_id = m.org_id AND k.index_id = m.source
), vectors AS (
    INSERT INTO knowledge_vectors (org_id, project_id, index_id, ordinal, embedding)
    SELECT v.org_id, m.project, m.target, v.ordinal, v.embedding
    FROM made m JOIN knowledge_vectors v ON v.org_id = m.org_id AND v.index_id = m.source
)
INSERT INTO knowledge_postings (org_id, project_id, index_id, term, first_ordinal, last_ordinal, count, records)
SELECT p.org_id, m.project, m.target, p.term, p.first_ordinal, p.last_ordinal, p.count, p.records
FROM made m JOIN knowledge_postings p ON p.org_id = m.org_id AND p.index_id = m.source;

-- name: copies
-- How `growth_routes.py` makes many of a thing: rows like the one of the table `name` for which `which` is true, from
-- number `first` to `last` of `total`. `different` is a JSON object of what each has of its own, from its number `n` and
-- its moment `at`.
CREATE OR REPLACE FUNCTION growth.copies(name text, which text, different text, first bigint, last bigint, total bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    columns text := (SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = name::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '');
BEGIN
    EXECUTE format(
        'INSERT INTO %1$I (%2$s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM ('
        ' SELECT made.* FROM (SELECT to_jsonb(t) AS columns FROM %1$I t WHERE %4$s LIMIT 1) r CROSS JOIN'
        ' (SELECT n, growth.moment(n, $3) AS at FROM generate_series($1, $2) n) numbered'
        ' CROSS JOIN LATERAL jsonb_populate_record(NULL::%1$I, r.columns || %3$s) made) made',
        name, columns, different, which) USING first, last, total;
END $$;
