-- name: key_of
-- An access key by its hash, where it belongs to one of these organizations.
SELECT k.*, p.name AS project_name FROM access_keys k
    LEFT JOIN projects p ON p.org_id = k.org_id AND p.id = k.project_id
WHERE k.hash = $1 AND k.org_id = ANY ($2::uuid[]);

-- name: key_named
SELECT k.*, p.name AS project_name FROM access_keys k
    LEFT JOIN projects p ON p.org_id = k.org_id AND p.id = k.project_id
WHERE k.org_id = $1 AND k.id = $2;

-- name: token_of
SELECT t.*, u.email FROM personal_tokens t JOIN users u ON u.id = t.user_id
    WHERE t.hash = $1 AND t.org_id = ANY ($2::uuid[]);

-- name: revoked_at
SELECT revoked_at FROM revoked_keys WHERE hash = $1 AND org_id = ANY ($2::uuid[]);

-- name: owned_orgs
-- Where the user may do everything.
SELECT org_id FROM org_members WHERE user_id = $1 AND role IN ('owner', 'admin');

-- name: email_of
SELECT email FROM users WHERE id = $1;

-- name: projects_named
SELECT id, name, visibility FROM projects WHERE org_id = ANY ($1::uuid[]);

-- name: orgs_named_by_id
SELECT id, name FROM orgs WHERE id = ANY ($1::uuid[]);

-- name: lies
-- Where the thing with this id lies, in these organizations. What belongs to a user, or to the keys, has an owner.
SELECT 'organization' AS noun, id AS org_id, NULL::uuid AS project_id, false AS owned, NULL::uuid AS owner_id
FROM orgs WHERE id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'project', org_id, id, false, NULL FROM projects WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'access key', org_id, project_id, false, NULL FROM access_keys
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'personal access token', org_id, NULL, true, user_id FROM personal_tokens
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'invitation', org_id, project_id, false, NULL FROM invitations
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'member', org_id, NULL, false, NULL FROM org_members WHERE org_id = ANY ($1::uuid[]) AND user_id = $2
UNION ALL SELECT 'conversation', org_id, project_id, true, owner_id FROM conversations
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'run', org_id, project_id, true, owner_id FROM runs WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'file', org_id, project_id, true, owner_id FROM files WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'deletion', org_id, project_id, kind = 'conversation', owner_id FROM deletions
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'connection', org_id, project_id, false, NULL FROM connections
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'tool', org_id, project_id, false, NULL FROM tools WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'knowledge base', org_id, project_id, false, NULL FROM knowledgebases
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'item', org_id, project_id, false, NULL FROM knowledge_items
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'source', org_id, project_id, false, NULL FROM knowledge_sources
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'workflow', org_id, project_id, false, NULL FROM workflows WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'version', org_id, project_id, false, NULL FROM workflow_versions
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'app', org_id, project_id, false, NULL FROM apps WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'trigger', org_id, project_id, false, NULL FROM triggers WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'event', org_id, project_id, false, NULL FROM trigger_events
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'requirement', org_id, project_id, false, NULL FROM requirements
    WHERE org_id = ANY ($1::uuid[]) AND id = $2
UNION ALL SELECT 'callback', org_id, project_id, false, NULL FROM callbacks WHERE org_id = ANY ($1::uuid[]) AND id = $2;

-- name: removed
-- When something was deleted, as the audit has it.
SELECT at, action FROM audit WHERE org_id = ANY ($1::uuid[]) AND subject_id = $2 AND action LIKE '%.delete'
    ORDER BY id DESC LIMIT 1;
