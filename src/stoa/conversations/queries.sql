-- name: insert_conversation
-- A new, empty conversation.
INSERT INTO conversations (org_id, project_id, id, title, model_id, user_id, metadata, created_by, agent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: conversation
-- One conversation with its model and active run.
SELECT c.*, m.slug AS model_slug, m.name AS model_name, m.provider AS model_provider, r.id AS active_run_id
FROM conversations c
LEFT JOIN models m ON m.id = c.model_id
LEFT JOIN runs r ON r.org_id = c.org_id AND r.conversation_id = c.id AND r.status IN ('created', 'started', 'paused') AND r.queued_at IS NULL
WHERE c.org_id = $1 AND c.id = $2;

-- name: list_conversations
-- A page of conversations; {order} is made of checked column names.
SELECT c.*, m.slug AS model_slug, m.name AS model_name, m.provider AS model_provider, r.id AS active_run_id
FROM (
    SELECT * FROM conversations
    WHERE org_id = $1
      AND ($2::uuid IS NULL OR model_id = $2) AND ($3::uuid IS NULL OR app_id = $3) AND ($4::text IS NULL OR user_id = $4)
      AND ($5::text IS NULL OR search @@ to_tsquery('simple', $5) OR id IN (
          SELECT conversation_id FROM messages WHERE org_id = $1 AND search @@ to_tsquery('simple', $5)))
    ORDER BY {order} LIMIT $6 OFFSET $7
) c
LEFT JOIN models m ON m.id = c.model_id
LEFT JOIN runs r ON r.org_id = c.org_id AND r.conversation_id = c.id AND r.status IN ('created', 'started', 'paused') AND r.queued_at IS NULL
ORDER BY {outer_order};

-- name: count_conversations
-- How many there are in all pages.
SELECT count(*) FROM conversations
WHERE org_id = $1
  AND ($2::uuid IS NULL OR model_id = $2) AND ($3::uuid IS NULL OR app_id = $3) AND ($4::text IS NULL OR user_id = $4)
  AND ($5::text IS NULL OR search @@ to_tsquery('simple', $5) OR id IN (
      SELECT conversation_id FROM messages WHERE org_id = $1 AND search @@ to_tsquery('simple', $5)));

-- name: update_conversation
-- Sets the fields whose flags are true.
UPDATE conversations SET
    title = CASE WHEN $3 THEN $4 ELSE title END,
    metadata = CASE WHEN $5 THEN $6 ELSE metadata END,
    model_id = CASE WHEN $7 THEN $8 ELSE model_id END,
    agent = CASE WHEN $9 THEN $10 ELSE agent END,
    updated_at = now()
WHERE org_id = $1 AND id = $2;

-- name: lock_conversation
-- The conversation, held against every other writer until the transaction ends.
SELECT id, project_id, model_id, app_id, user_id, message_count, agent FROM conversations WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: take_position
-- The next message's position; also holds the conversation against other writers.
UPDATE conversations SET message_count = message_count + 1, model_id = coalesce($3, model_id), updated_at = now()
WHERE org_id = $1 AND id = $2 RETURNING message_count, project_id, model_id, app_id, user_id, agent;

-- name: insert_message
-- A message at the position that was taken for it.
INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status, run_id, usage, metadata, turns)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: list_messages
-- A page of messages, oldest first.
SELECT * FROM messages WHERE org_id = $1 AND conversation_id = $2 ORDER BY position LIMIT $3 OFFSET $4;

-- name: history
-- What was said up to a position, newest first, so that a bounded number keeps the newest.
SELECT * FROM messages WHERE org_id = $1 AND conversation_id = $2 AND position <= $3 ORDER BY position DESC LIMIT $4;

-- name: insert_file
-- An upload whose content is stored.
INSERT INTO files (org_id, project_id, id, conversation_id, name, size, mime_type, sha256, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *;

-- name: file
SELECT * FROM files WHERE org_id = $1 AND id = $2;

-- name: list_files
-- A page of a conversation's files.
SELECT * FROM files WHERE org_id = $1 AND conversation_id = $2 ORDER BY {order} LIMIT $3 OFFSET $4;

-- name: count_files
SELECT count(*) FROM files WHERE org_id = $1 AND conversation_id = $2;

-- name: files_of
-- Those of a conversation among the ids.
SELECT * FROM files WHERE org_id = $1 AND conversation_id = $2 AND id = ANY ($3::uuid[]);

-- name: unread_files
-- Files that should long have been read: their node died.
SELECT * FROM files WHERE status = 'pending' AND created_at < now() - interval '90 seconds' ORDER BY created_at LIMIT 16;

-- name: settle_file
-- The outcome of reading a file; the first outcome stays.
UPDATE files SET status = $3, pages = $4, warnings = $5, error = $6 WHERE org_id = $1 AND id = $2 AND status = 'pending' RETURNING project_id;

-- name: insert_passages
-- What was read out of a file.
INSERT INTO file_passages (org_id, project_id, file_id, position, page, heading, text)
SELECT $1, $2, $3, p.* FROM unnest($4::int[], $5::int[], $6::text[], $7::text[]) AS p;

-- name: passages
SELECT page, heading, text FROM file_passages WHERE org_id = $1 AND file_id = $2 ORDER BY position;

-- name: delete_content
-- Everything of a conversation but its runs and journals, with rows and bytes.
WITH gone_passages AS (
    DELETE FROM file_passages p USING files f
    WHERE f.org_id = $1 AND f.conversation_id = $2 AND p.org_id = f.org_id AND p.file_id = f.id RETURNING octet_length(p.text) AS bytes
), gone_messages AS (
    DELETE FROM messages WHERE org_id = $1 AND conversation_id = $2 RETURNING octet_length(text) AS bytes
)
SELECT (SELECT count(*) FROM gone_passages) AS passages, (SELECT coalesce(sum(bytes), 0) FROM gone_passages)::bigint AS passage_bytes,
       (SELECT count(*) FROM gone_messages) AS messages, (SELECT coalesce(sum(bytes), 0) FROM gone_messages)::bigint AS message_bytes;

-- name: delete_files
-- The conversation's files; their content follows when nobody else has the same.
DELETE FROM files WHERE org_id = $1 AND conversation_id = $2 RETURNING id, sha256, size;

-- name: delete_idempotency
-- Remembered answers that speak of the conversation or its runs.
WITH gone AS (DELETE FROM idempotency_keys WHERE org_id = $1 AND subject_id = ANY ($2::uuid[]) RETURNING 1) SELECT count(*) FROM gone;

-- name: delete_conversation
DELETE FROM conversations WHERE org_id = $1 AND id = $2;

-- name: insert_deletion
INSERT INTO deletions (org_id, project_id, id, kind, subject_id, stores, blobs, run_ids, file_ids, created_by)
VALUES ($1, $2, $3, 'conversation', $4, $5, $6, $7, $8, $9);

-- name: deletion
SELECT * FROM deletions WHERE org_id = $1 AND id = $2;

-- name: unverified_deletions
-- Deletions of conversations whose proof is still owed, of all tenants: a node may have died between the two.
SELECT * FROM deletions WHERE verified_at IS NULL AND kind = 'conversation' AND created_at < now() - interval '5 seconds' ORDER BY created_at LIMIT 100;

-- name: content_in_use
-- Whether another file has this content.
SELECT EXISTS (SELECT 1 FROM files WHERE org_id = $1 AND project_id = $2 AND sha256 = $3);

-- name: left_over
-- Rows that still speak of a deleted conversation; its re-scan wants zero.
SELECT (SELECT count(*) FROM conversations WHERE org_id = $1 AND id = $2)
     + (SELECT count(*) FROM messages WHERE org_id = $1 AND conversation_id = $2)
     + (SELECT count(*) FROM files WHERE org_id = $1 AND (conversation_id = $2 OR id = ANY ($4::uuid[])))
     + (SELECT count(*) FROM file_passages WHERE org_id = $1 AND file_id = ANY ($4::uuid[]))
     + (SELECT count(*) FROM runs WHERE org_id = $1 AND (conversation_id = $2 OR id = ANY ($3::uuid[])))
     + (SELECT count(*) FROM tool_calls WHERE org_id = $1 AND (conversation_id = $2 OR run_id = ANY ($3::uuid[])))
     + (SELECT count(*) FROM input_requests WHERE org_id = $1 AND (conversation_id = $2 OR run_id = ANY ($3::uuid[])))
     + (SELECT count(*) FROM idempotency_keys WHERE org_id = $1 AND (subject_id = $2 OR subject_id = ANY ($3::uuid[])));

-- name: record_blobs
-- The bytes of content that went, added to the receipt.
UPDATE deletions SET stores = jsonb_set(stores, '{blobs}', jsonb_build_object('rows', $3::int, 'bytes', $4::bigint)), blobs = '{}'
WHERE org_id = $1 AND id = $2 AND blobs <> '{}';

-- name: verified
UPDATE deletions SET verified_at = now() WHERE org_id = $1 AND id = $2 AND verified_at IS NULL;
