-- name: unread
-- Of all tenants: files that are not read yet.
SELECT count(*) FROM files WHERE status = 'pending';

-- name: unproven
-- Of all tenants: deletions that are not verified yet.
SELECT count(*) FROM deletions WHERE verified_at IS NULL;

-- name: insert_conversation
-- A new, empty conversation.
INSERT INTO conversations (org_id, project_id, id, title, model_id, user_id, metadata, created_by, agent, app_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: open_session
-- A conversation bound to an app; no row if its session has one already.
INSERT INTO conversations (org_id, project_id, id, app_id, user_id, session_id, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING id;

-- name: session
-- The conversation of an app's session.
SELECT id FROM conversations
WHERE org_id = $1 AND app_id = $2 AND session_id = $3 AND coalesce(user_id, '') = coalesce($4, '');

-- name: reach_files
-- References to an app's files of another conversation, as forks have.
INSERT INTO conversation_files (org_id, project_id, conversation_id, file_id)
SELECT org_id, project_id, $2, id FROM files WHERE org_id = $1 AND id = ANY ($3::uuid[]) AND conversation_id <> $2
ON CONFLICT DO NOTHING;

-- name: conversation
-- One conversation with its model and active run.
SELECT c.*, m.slug AS model_slug, m.name AS model_name, m.provider AS model_provider, r.id AS active_run_id,
    a.name AS app_name, a.description AS app_description
FROM conversations c
LEFT JOIN models m ON m.id = c.model_id
LEFT JOIN apps a ON a.org_id = c.org_id AND a.id = c.app_id
LEFT JOIN runs r ON r.org_id = c.org_id AND r.conversation_id = c.id AND r.status IN ('created', 'started', 'paused')
    AND r.queued_at IS NULL
WHERE c.org_id = $1 AND c.id = $2;

-- name: listed_conversations
-- The conversations of a page, in its order.
SELECT c.*, m.slug AS model_slug, m.name AS model_name, m.provider AS model_provider, r.id AS active_run_id,
    a.name AS app_name, a.description AS app_description
FROM unnest($2::uuid[]) WITH ORDINALITY AS page (id, number)
JOIN conversations c ON c.org_id = $1 AND c.id = page.id
LEFT JOIN models m ON m.id = c.model_id
LEFT JOIN apps a ON a.org_id = c.org_id AND a.id = c.app_id
LEFT JOIN runs r ON r.org_id = c.org_id AND r.conversation_id = c.id AND r.status IN ('created', 'started', 'paused')
    AND r.queued_at IS NULL
ORDER BY page.number;

-- name: pinned_conversations
-- The ids of a page of pinned conversations; a filter that is NULL is any.
SELECT id FROM conversations WHERE org_id = $1 AND pinned_at IS NOT NULL AND ($2::uuid IS NULL OR model_id = $2)
    AND ($3::uuid IS NULL OR app_id = $3) AND ($4::text IS NULL OR user_id = $4)
ORDER BY {order} LIMIT $5 OFFSET $6;

-- name: count_pinned
-- Up to 10,001.
SELECT count(*) FROM (
    SELECT 1 FROM conversations WHERE org_id = $1 AND pinned_at IS NOT NULL AND ($2::uuid IS NULL OR model_id = $2)
        AND ($3::uuid IS NULL OR app_id = $3) AND ($4::text IS NULL OR user_id = $4) LIMIT 10001
) counted;

-- name: usage
-- The usage of all model calls of a conversation.
SELECT count(*) AS calls, coalesce(sum(prompt_tokens), 0) AS prompt_tokens, coalesce(sum(cached_tokens),
    0) AS cached_tokens,
       coalesce(sum(completion_tokens), 0) AS completion_tokens, coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens,
       sum(cost_usd)::float8 AS cost_usd, coalesce(bool_or(estimated), false) AS estimated
FROM model_calls WHERE org_id = $1 AND conversation_id = $2;

-- name: update_conversation
-- Sets the fields whose flags are true. $11 pins or unpins; a repeated pin keeps its time. $12: something besides the
-- pin changes, and only that counts as activity.
UPDATE conversations SET
    title = CASE WHEN $3 THEN $4 ELSE title END,
    metadata = CASE WHEN $5 THEN $6 ELSE metadata END,
    model_id = CASE WHEN $7 THEN $8 ELSE model_id END,
    agent = CASE WHEN $9 THEN $10 ELSE agent END,
    pinned_at = CASE WHEN $11::boolean THEN coalesce(pinned_at, now()) WHEN NOT $11 THEN NULL ELSE pinned_at END,
    updated_at = CASE WHEN $12::boolean THEN now() ELSE updated_at END
WHERE org_id = $1 AND id = $2;

-- name: lock_conversation
-- Locks the conversation (SELECT FOR UPDATE).
SELECT id, project_id, model_id, app_id, user_id, message_count, agent, updated_at FROM conversations
WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: take_position
-- Takes the next message's position, which locks the conversation.
UPDATE conversations SET message_count = message_count + 1, model_id = coalesce($3, model_id), updated_at = now()
WHERE org_id = $1 AND id = $2 RETURNING message_count, project_id, model_id, app_id, user_id, agent;

-- name: insert_message
-- A message at the position that was taken for it.
INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status, run_id, usage,
    metadata, turns)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: keep_items
-- A user's message as items, in the transaction that inserts it.
UPDATE messages SET turns = $4 WHERE org_id = $1 AND conversation_id = $2 AND position = $3;

-- name: messages
-- The visible messages between two positions, in order; positions have no gaps, so a page is a range.
SELECT * FROM shown_messages WHERE org_id = $1 AND shown_in = $2 AND position BETWEEN $3 AND $4 ORDER BY position;

-- name: contents
-- Of messages that are named by where they stand in their own conversations.
SELECT m.id, m.content FROM unnest($2::uuid[], $3::int[]) AS w (conversation_id, position)
JOIN messages m ON m.org_id = $1 AND m.conversation_id = w.conversation_id AND m.position = w.position;

-- name: history
-- The same for a model.
SELECT position, role, content, status, turns FROM shown_messages WHERE org_id = $1 AND shown_in = $2
    AND position BETWEEN $3 AND $4 ORDER BY position;

-- name: outline
-- Role and status of messages, without the content.
SELECT position, role, status FROM shown_messages WHERE org_id = $1 AND shown_in = $2 AND position BETWEEN $3 AND $4
    ORDER BY position;

-- name: message_position
-- The position of a message in a conversation.
SELECT position FROM shown_messages WHERE org_id = $1 AND shown_in = $2 AND id = $3;

-- name: last_question
-- The newest message of a user after a position.
SELECT id, position, content FROM shown_messages WHERE org_id = $1 AND shown_in = $2 AND role = 'user'
    AND position > $3 ORDER BY position DESC LIMIT 1;

-- name: switch_model
UPDATE conversations SET model_id = $3, updated_at = now() WHERE org_id = $1 AND id = $2;

-- name: sessions
-- The ids of a page of an app's sessions.
SELECT id FROM conversations
WHERE org_id = $1 AND app_id = $2 AND session_id IS NOT NULL AND ($3::text IS NULL OR user_id = $3)
ORDER BY {order} LIMIT $4 OFFSET $5;

-- name: count_sessions
-- At most $4: a longer list is not counted to its end.
SELECT count(*) FROM (
    SELECT 1 FROM conversations
    WHERE org_id = $1 AND app_id = $2 AND session_id IS NOT NULL AND ($3::text IS NULL OR user_id = $3)
    LIMIT $4) AS found;

-- name: conversations_of_session
SELECT id, message_count FROM conversations
WHERE org_id = $1 AND app_id = $2 AND session_id = $3 AND ($4::text IS NULL OR user_id = $4) LIMIT 2;

-- name: insert_file
-- An upload whose content is stored.
INSERT INTO files (org_id, project_id, id, conversation_id, name, size, mime_type, sha256, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *;

-- name: file
SELECT * FROM files WHERE org_id = $1 AND id = $2;

-- name: list_files
-- A page of the files that a conversation can reach: its own, and those that shared messages name.
SELECT * FROM files WHERE org_id = $1
  AND (conversation_id = $2 OR id IN (SELECT file_id FROM conversation_files WHERE org_id = $1
      AND conversation_id = $2)) ORDER BY {order} LIMIT $3 OFFSET $4;

-- name: count_files
SELECT (SELECT count(*) FROM files WHERE org_id = $1 AND conversation_id = $2)
     + (SELECT count(*) FROM conversation_files WHERE org_id = $1 AND conversation_id = $2);

-- name: files_of
-- Those among the ids that a conversation can reach; where it is bound to an app, those of the app.
SELECT * FROM files f WHERE org_id = $1 AND id = ANY ($3::uuid[])
  AND (conversation_id = $2 OR EXISTS (SELECT 1 FROM conversation_files s WHERE s.org_id = $1
      AND s.conversation_id = $2 AND s.file_id = f.id)
      OR f.conversation_id IN (SELECT o.id FROM conversations o
                                JOIN conversations c ON c.org_id = o.org_id AND c.app_id = o.app_id
          WHERE c.org_id = $1 AND c.id = $2 AND o.id = f.conversation_id));

-- name: unread_files
-- Of all tenants.
-- Overdue unread files, whose node died.
SELECT * FROM files WHERE status = 'pending' AND created_at < now() - interval '90 seconds' ORDER BY created_at
    LIMIT 16;

-- name: settle_file
-- The outcome of reading a file; the first outcome stays.
UPDATE files SET status = $3, pages = $4, warnings = $5, error = $6 WHERE org_id = $1 AND id = $2
    AND status = 'pending' RETURNING project_id;

-- name: insert_passages
-- The passages of a file.
INSERT INTO file_passages (org_id, project_id, file_id, position, page, heading, text)
SELECT $1, $2, $3, p.* FROM unnest($4::int[], $5::int[], $6::text[], $7::text[]) AS p;

-- name: passages
SELECT page, heading, text FROM file_passages WHERE org_id = $1 AND file_id = $2 ORDER BY position;

-- name: lock_files
-- Locks the conversation's files, so that none of them gets passages between the statements of a deletion.
SELECT id FROM files WHERE org_id = $1 AND conversation_id = $2 ORDER BY id FOR UPDATE;

-- name: delete_content
-- Removes everything of a conversation except its runs and journals; returns rows and bytes.
WITH gone_passages AS (
    DELETE FROM file_passages p USING files f
    WHERE f.org_id = $1 AND f.conversation_id = $2 AND p.org_id = f.org_id AND p.file_id = f.id
        RETURNING octet_length(p.text) AS bytes
), gone_messages AS (
    DELETE FROM messages WHERE org_id = $1 AND conversation_id = $2 RETURNING id, octet_length(text) AS bytes
)
SELECT (SELECT count(*) FROM gone_passages) AS passages, (SELECT coalesce(sum(bytes), 0)
    FROM gone_passages)::bigint AS passage_bytes,
       (SELECT coalesce(array_agg(id), '{}') FROM gone_messages) AS message_ids, (SELECT coalesce(sum(bytes), 0)
           FROM gone_messages)::bigint AS message_bytes;

-- name: delete_files
-- Removes the conversation's files; their content is removed later, if no other file has the same.
DELETE FROM files WHERE org_id = $1 AND conversation_id = $2 RETURNING id, sha256, size;

-- name: delete_idempotency
-- Removes idempotency keys of the conversation or its runs.
WITH gone AS (DELETE FROM idempotency_keys WHERE org_id = $1 AND subject_id = ANY ($2::uuid[])
    RETURNING 1) SELECT count(*) FROM gone;

-- name: delete_conversation
DELETE FROM conversations WHERE org_id = $1 AND id = $2;

-- name: insert_deletion
INSERT INTO deletions (org_id, project_id, id, kind, subject_id, stores, blobs, run_ids, file_ids, message_ids,
    retained_message_ids,
                       retained_file_ids, created_by)
VALUES ($1, $2, $3, 'conversation', $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: deletion
SELECT * FROM deletions WHERE org_id = $1 AND id = $2;

-- name: unverified_deletions
-- Of all tenants: unverified deletions of conversations, whose node may have died.
SELECT * FROM deletions WHERE verified_at IS NULL AND kind = 'conversation'
    AND created_at < now() - interval '5 seconds' ORDER BY created_at LIMIT 100;

-- name: expired_conversations
-- Of all tenants: conversations without activity for the retention time of their project: up to $2 of each project, the
-- oldest first, at the time $1; `idle_since` is the limit now. Conversations with an active or paused run are left out.
SELECT e.org_id, e.project_id, e.id, e.idle_since FROM projects p CROSS JOIN LATERAL (
    SELECT c.org_id, c.project_id, c.id, t.idle_since
    FROM (SELECT $1::timestamptz - p.retention_days * interval '1 day' AS idle_since) t, conversations c
    WHERE c.org_id = p.org_id AND c.project_id = p.id AND c.created_at < t.idle_since AND c.updated_at < t.idle_since
      AND NOT EXISTS (SELECT FROM runs r WHERE r.org_id = c.org_id AND r.conversation_id = c.id
                      AND r.status IN ('created', 'started', 'paused'))
    ORDER BY c.created_at LIMIT $2
) e
WHERE p.retention_days IS NOT NULL ORDER BY e.idle_since LIMIT $2;

-- name: content_in_use
-- Whether another file has this content.
SELECT EXISTS (SELECT 1 FROM files WHERE org_id = $1 AND project_id = $2 AND sha256 = $3);

-- name: record_blobs
-- Adds the bytes of removed content to the receipt.
UPDATE deletions SET stores = jsonb_set(stores, '{blobs}', jsonb_build_object('rows', $3::int, 'bytes', $4::bigint)),
    blobs = '{}'
WHERE org_id = $1 AND id = $2 AND blobs <> '{}';

-- name: verified
UPDATE deletions SET verified_at = now(), message_ids = '{}' WHERE org_id = $1 AND id = $2 AND verified_at IS NULL;

-- name: retained
-- The messages and files that forks still show at this time, and the forks.
WITH kept AS (
    SELECT d.org_id, m.id, m.conversation_id, m.position FROM deletions d CROSS
        JOIN LATERAL unnest(d.retained_message_ids) AS k (id)
    JOIN messages m ON m.org_id = d.org_id AND m.id = k.id WHERE d.org_id = $1 AND d.id = $2
), owners AS (
    SELECT org_id, conversation_id, min(position) AS first, max(position) AS last FROM kept
        GROUP BY org_id, conversation_id
)
SELECT (SELECT count(*) FROM kept) AS messages,
       (SELECT count(*) FROM deletions d JOIN files f ON f.org_id = d.org_id AND f.id = ANY (d.retained_file_ids)
           WHERE d.org_id = $1 AND d.id = $2) AS files,
       (SELECT coalesce(array_agg(id), '{}') FROM (
           SELECT conversation_id AS id FROM owners
           UNION SELECT s.conversation_id FROM owners o
           JOIN conversation_segments s ON s.org_id = o.org_id AND s.source_id = o.conversation_id
               AND s.first_position <= o.last AND s.last_position >= o.first
           ORDER BY id LIMIT 100) shown) AS conversations;

-- name: take_turns
-- The advisory lock of a family of forks, which serializes forks and deletions; until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(family::text, 1)) FROM conversations WHERE org_id = $1 AND id = $2;

-- name: fork_tree
-- The root of a tree of forks and its forks, the oldest first.
WITH RECURSIVE above AS (
    SELECT id, forked_from, 0 AS depth FROM conversations WHERE org_id = $1 AND id = $2
    UNION ALL
    SELECT c.id, c.forked_from, above.depth + 1 FROM above
    JOIN conversations c ON c.org_id = $1 AND c.id = above.forked_from
), tree AS (
    SELECT id FROM (SELECT id FROM above ORDER BY depth DESC LIMIT 1) root
    UNION
    SELECT c.id FROM tree JOIN conversations c ON c.org_id = $1 AND c.forked_from = tree.id
)
SELECT c.id FROM tree JOIN conversations c ON c.org_id = $1 AND c.id = tree.id ORDER BY c.created_at, c.id LIMIT $3;

-- name: fork_conversation
-- A fork: a conversation with its origin's fields, which shows so many of its messages.
INSERT INTO conversations (org_id, project_id, id, title, model_id, app_id, user_id, metadata, agent, created_by,
    message_count, family,
                           forked_from, forked_from_message_id)
SELECT org_id, project_id, $3, coalesce($4, title), model_id, app_id, user_id, coalesce($5, metadata), agent, $6, $7,
    family, id, $8
FROM conversations WHERE org_id = $1 AND id = $2;

-- name: fork_segments
-- The fork's history by reference: the origin's segments and own messages up to the position.
INSERT INTO conversation_segments (org_id, project_id, conversation_id, first_position, last_position, source_id)
SELECT org_id, project_id, $3::uuid, first_position, least(last_position, $4), source_id
FROM conversation_segments WHERE org_id = $1 AND conversation_id = $2 AND first_position <= $4
UNION ALL
SELECT c.org_id, c.project_id, $3, shared.last + 1, $4, c.id
FROM conversations c CROSS JOIN (
    SELECT coalesce(max(last_position), 0) AS last FROM conversation_segments WHERE org_id = $1
        AND conversation_id = $2) shared
WHERE c.org_id = $1 AND c.id = $2 AND $4 > shared.last;

-- name: count_segments
SELECT count(*) FROM conversation_segments WHERE org_id = $1 AND conversation_id = $2;

-- name: fork_files
-- The files that the shared messages name, by reference.
INSERT INTO conversation_files (org_id, project_id, conversation_id, file_id)
SELECT f.org_id, f.project_id, $3, f.id FROM files f WHERE f.org_id = $1 AND f.id IN (
    SELECT (part->'file'->>'id')::uuid FROM shown_messages m CROSS JOIN LATERAL jsonb_array_elements(m.content) AS part
    WHERE m.org_id = $1 AND m.shown_in = $2 AND m.position <= $4 AND m.content @> '[{"type": "file"}]'
        AND part->>'type' = 'file');

-- name: heir
-- The fork that shows most messages of a conversation, and up to which position.
SELECT conversation_id AS id, last_position FROM conversation_segments WHERE org_id = $1 AND source_id = $2
ORDER BY last_position DESC, conversation_id LIMIT 1;

-- name: hand_over_messages
-- Moves the messages that forks show to the heir. Their runs are deleted, so `run_id` becomes NULL.
UPDATE messages SET conversation_id = $3, run_id = NULL WHERE org_id = $1 AND conversation_id = $2 AND position <= $4
    RETURNING id;

-- name: hand_over_files
-- Moves each file that forks can reach to one of them, preferably the heir.
WITH heirs AS (
    SELECT DISTINCT ON (s.file_id) s.file_id, s.conversation_id FROM conversation_files s
        JOIN files f ON f.org_id = s.org_id AND f.id = s.file_id
    WHERE s.org_id = $1 AND f.conversation_id = $2 ORDER BY s.file_id, s.conversation_id <> $3, s.conversation_id
), own AS (
    DELETE FROM conversation_files s USING heirs h WHERE s.org_id = $1 AND s.conversation_id = h.conversation_id
        AND s.file_id = h.file_id
)
UPDATE files f SET conversation_id = h.conversation_id FROM heirs h WHERE f.org_id = $1 AND f.id = h.file_id
    RETURNING f.id;

-- name: hand_over_segments
-- The other forks show the heir's rows from now on.
WITH own AS (DELETE FROM conversation_segments WHERE org_id = $1 AND source_id = $2 AND conversation_id = $3)
UPDATE conversation_segments SET source_id = $3 WHERE org_id = $1 AND source_id = $2 AND conversation_id <> $3;

-- name: delete_references
-- Removes the conversation's segments, and the references of its forks to it.
WITH segments AS (
    DELETE FROM conversation_segments WHERE org_id = $1 AND conversation_id = $2 RETURNING 1
), files AS (
    DELETE FROM conversation_files WHERE org_id = $1 AND conversation_id = $2 RETURNING 1
), origins AS (
    UPDATE conversations SET forked_from = NULL, forked_from_message_id = NULL WHERE org_id = $1 AND forked_from = $2
)
SELECT (SELECT count(*) FROM segments) AS segments, (SELECT count(*) FROM files) AS files;
