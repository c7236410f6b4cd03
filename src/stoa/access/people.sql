-- name: insert_user
-- $7: whether it is known that the address is this person's.
INSERT INTO users (id, email, first_name, last_name, timezone, password, email_verified_at)
VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $7 THEN now() END) RETURNING *;

-- name: user_by_email
SELECT * FROM users WHERE email = $1;

-- name: user
SELECT * FROM users WHERE id = $1;

-- name: set_password
-- Also lifts the delay of failed attempts.
UPDATE users SET password = $2, failed_attempts = 0, next_attempt_at = NULL, updated_at = now() WHERE id = $1;

-- name: sign_out_everywhere
DELETE FROM user_sessions WHERE user_id = $1;

-- name: begin_attempt
-- Counts an attempt to sign in before the password is checked, so that many at once do not pass together. No row: it is
-- too
-- early for another one. $2 is the number of attempts without delay, $3 the seconds of delay after that.
UPDATE users SET failed_attempts = failed_attempts + 1,
    next_attempt_at = CASE WHEN failed_attempts + 1 >= $2::int THEN now() + $3::float8 * interval '1 second' END
WHERE id = $1 AND (next_attempt_at IS NULL OR next_attempt_at <= now()) RETURNING id;

-- name: end_attempt
UPDATE users SET failed_attempts = 0, next_attempt_at = NULL WHERE id = $1;

-- name: insert_member
INSERT INTO org_members (org_id, user_id, role) VALUES ($1, $2, $3) ON CONFLICT (org_id, user_id) DO NOTHING;

-- name: insert_new_org
INSERT INTO orgs (id, name) VALUES ($1, $2) RETURNING *;

-- name: insert_first_project
INSERT INTO projects (org_id, id, name, visibility) VALUES ($1, $2, 'Default', 'internal');

-- name: org
SELECT * FROM orgs WHERE id = $1;

-- name: orgs_named
SELECT * FROM orgs WHERE name = $1 OR id::text = $1 ORDER BY created_at, id LIMIT 2;

-- name: oldest_org
SELECT * FROM orgs ORDER BY created_at, id LIMIT 1;

-- name: update_org
UPDATE orgs SET name = $2 WHERE id = $1 RETURNING *;

-- name: orgs_of_user
-- A page; {order} is made of checked column names.
SELECT o.*, m.role FROM orgs o JOIN org_members m ON m.org_id = o.id WHERE m.user_id = $1
    ORDER BY {order} LIMIT $2 OFFSET $3;

-- name: count_orgs_of_user
SELECT count(*) FROM (SELECT FROM org_members WHERE user_id = $1 LIMIT 10001) counted;

-- name: first_org_of_user
SELECT org_id FROM org_members WHERE user_id = $1 ORDER BY created_at, org_id LIMIT 1;

-- name: membership
-- What a user may do in an organization.
SELECT org_id, user_id, role, projects FROM member_roles WHERE org_id = $1 AND user_id = $2;

-- name: org_of_project
-- The organization of a project, where the user is a member of it.
SELECT p.org_id FROM projects p JOIN org_members m ON m.org_id = p.org_id WHERE p.id = $1 AND m.user_id = $2;

-- name: token_by_hash
-- A token's owner, with the roles of this moment.
SELECT t.id, t.expires_at, m.* FROM personal_tokens t JOIN member_roles m USING (org_id, user_id) WHERE t.hash = $1;

-- name: session_by_hash
SELECT s.id, s.expires_at, m.* FROM user_sessions s JOIN member_roles m USING (org_id, user_id) WHERE s.hash = $1;

-- name: credential_by_id
-- The same, of what something signed names.
SELECT t.id, t.expires_at, false AS session, m.* FROM personal_tokens t JOIN member_roles m USING (org_id, user_id)
    WHERE t.id = $1
UNION ALL
SELECT s.id, s.expires_at, true, m.* FROM user_sessions s JOIN member_roles m USING (org_id, user_id) WHERE s.id = $1;

-- name: insert_token
INSERT INTO personal_tokens (org_id, id, user_id, name, hash, preview, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
    RETURNING *;

-- name: token
SELECT * FROM personal_tokens WHERE org_id = $1 AND id = $2;

-- name: tokens_of_user
-- A page, of all organizations; {order} is made of checked column names.
SELECT * FROM personal_tokens WHERE user_id = $1 ORDER BY {order} LIMIT $2 OFFSET $3;

-- name: count_tokens_of_user
SELECT count(*) FROM (SELECT FROM personal_tokens WHERE user_id = $1 LIMIT 10001) counted;

-- name: delete_token
DELETE FROM personal_tokens WHERE user_id = $1 AND id = $2 RETURNING org_id;

-- name: lock_credential
-- Locks the token or session against its removal: one that is being removed makes no other.
SELECT id FROM personal_tokens WHERE id = $1 FOR KEY SHARE;

-- name: insert_session
INSERT INTO user_sessions (org_id, id, user_id, hash, expires_at, method, address, client, hint)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: delete_session
DELETE FROM user_sessions WHERE hash = $1 RETURNING method, hint;

-- name: account_of_session
SELECT s.id AS session_id, s.org_id, u.*,
    EXISTS (SELECT 1 FROM user_identities i WHERE i.user_id = u.id) AS has_identity
FROM user_sessions s JOIN users u ON u.id = s.user_id WHERE s.hash = $1 AND s.expires_at > $2;

-- name: sessions_of_user
SELECT * FROM user_sessions WHERE user_id = $1 AND expires_at > $2 ORDER BY created_at DESC, id LIMIT $3;

-- name: end_session
DELETE FROM user_sessions WHERE user_id = $1 AND id = $2 RETURNING id;

-- name: end_other_sessions
DELETE FROM user_sessions WHERE user_id = $1 AND id <> $2;

-- name: switch_session
-- Moves a session to another organization of its user. Its id changes: what was signed for it named one organization.
UPDATE user_sessions s SET org_id = m.org_id, id = $3 FROM org_members m
WHERE s.id = $1 AND m.org_id = $2 AND m.user_id = s.user_id RETURNING s.id;

-- name: verify_email
-- Somebody has shown that the address is theirs.
UPDATE users SET email_verified_at = now(), updated_at = now() WHERE id = $1 AND email_verified_at IS NULL RETURNING id;

-- name: drop_password
UPDATE users SET password = NULL, updated_at = now() WHERE id = $1;

-- name: delete_tokens
DELETE FROM personal_tokens WHERE user_id = $1;

-- name: lock_email
-- Held while a user with this address may be made.
SELECT pg_advisory_xact_lock(hashtextextended('stoa user ' || $1::text, 0));

-- name: identity
SELECT u.* FROM user_identities i JOIN users u ON u.id = i.user_id WHERE i.issuer = $1 AND i.subject = $2;

-- name: insert_identity
INSERT INTO user_identities (issuer, subject, user_id) VALUES ($1, $2, $3);

-- name: begin_reset
-- Counts a mail about a forgotten password. No row: the address is nobody's, or had a mail in this minute, or $2 today.
UPDATE users SET
    resets = CASE WHEN resets_since > now() - interval '1 day' THEN resets + 1 ELSE 1 END,
    resets_since = CASE WHEN resets_since > now() - interval '1 day' THEN resets_since ELSE now() END,
    reset_at = now()
WHERE email = $1 AND (reset_at IS NULL OR reset_at <= now() - interval '1 minute')
    AND (resets_since IS NULL OR resets_since <= now() - interval '1 day' OR resets < $2::int)
RETURNING id;

-- name: insert_reset
INSERT INTO user_links (hash, kind, user_id, expires_at) VALUES ($1, 'password_reset', $2, $3)
ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at;

-- name: insert_owner_link
INSERT INTO user_links (hash, kind, expires_at) VALUES ($1, 'first_owner', $2);

-- name: link_open
SELECT EXISTS (SELECT 1 FROM user_links WHERE hash = $1 AND kind = $2 AND expires_at > $3);

-- name: take_link
-- Opens a link: whoever comes second finds none.
DELETE FROM user_links WHERE hash = $1 AND kind = $2 AND expires_at > $3 RETURNING hash, user_id;

-- name: delete_owner_links
DELETE FROM user_links WHERE kind = 'first_owner' AND ($1 OR expires_at <= now());

-- name: delete_reset_links
DELETE FROM user_links WHERE user_id = $1;

-- name: lock_first_org
-- Held while the first owner is made.
SELECT id FROM orgs ORDER BY created_at, id LIMIT 1 FOR NO KEY UPDATE;

-- name: any_owner
SELECT EXISTS (SELECT 1 FROM org_members WHERE role = 'owner');

-- name: delete_ended_sessions
DELETE FROM user_sessions WHERE user_id = $1 AND expires_at <= now();

-- name: members
-- A page of an organization's members.
SELECT u.email, u.first_name, u.last_name, m.* FROM org_members m JOIN users u ON u.id = m.user_id
WHERE m.org_id = $1 ORDER BY m.created_at, m.user_id LIMIT $2 OFFSET $3;

-- name: count_members
SELECT count(*) FROM (SELECT FROM org_members WHERE org_id = $1 LIMIT 10001) counted;

-- name: member
SELECT u.email, u.first_name, u.last_name, m.* FROM org_members m JOIN users u ON u.id = m.user_id
    WHERE m.org_id = $1 AND m.user_id = $2;

-- name: member_by_email
SELECT m.user_id FROM org_members m JOIN users u ON u.id = m.user_id WHERE m.org_id = $1 AND u.email = $2;

-- name: lock_org
-- Held while members are changed, so that an owner stays.
SELECT id FROM orgs WHERE id = $1 FOR NO KEY UPDATE;

-- name: other_owner
SELECT EXISTS (SELECT 1 FROM org_members WHERE org_id = $1 AND role = 'owner' AND user_id <> $2);

-- name: set_role
UPDATE org_members SET role = $3 WHERE org_id = $1 AND user_id = $2 RETURNING user_id;

-- name: delete_member
-- With the member's roles in projects, tokens and sessions, by their foreign keys.
DELETE FROM org_members WHERE org_id = $1 AND user_id = $2;

-- name: visible_project
SELECT id FROM projects WHERE org_id = $1 AND id = $2;

-- name: project_members
SELECT u.email, u.first_name, u.last_name, m.* FROM project_members m JOIN users u ON u.id = m.user_id
WHERE m.org_id = $1 AND m.project_id = $2 ORDER BY m.created_at, m.user_id LIMIT $3 OFFSET $4;

-- name: count_project_members
SELECT count(*) FROM (SELECT FROM project_members WHERE org_id = $1 AND project_id = $2 LIMIT 10001) counted;

-- name: project_member
SELECT u.email, u.first_name, u.last_name, m.* FROM project_members m JOIN users u ON u.id = m.user_id
WHERE m.org_id = $1 AND m.project_id = $2 AND m.user_id = $3;

-- name: put_project_member
INSERT INTO project_members (org_id, project_id, user_id, role) VALUES ($1, $2, $3, $4)
ON CONFLICT (org_id, project_id, user_id) DO UPDATE SET role = excluded.role;

-- name: set_project_role
UPDATE project_members SET role = $4 WHERE org_id = $1 AND project_id = $2 AND user_id = $3 RETURNING user_id;

-- name: delete_project_member
DELETE FROM project_members WHERE org_id = $1 AND project_id = $2 AND user_id = $3 RETURNING user_id;

-- name: insert_invitation
INSERT INTO invitations (org_id, project_id, id, email, role, project_role, hash, expires_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *;

-- name: invitation
SELECT * FROM invitations WHERE org_id = $1 AND project_id IS NOT DISTINCT FROM $2 AND id = $3;

-- name: invitations
SELECT * FROM invitations WHERE org_id = $1 AND project_id IS NOT DISTINCT FROM $2
    ORDER BY created_at DESC, id LIMIT $3 OFFSET $4;

-- name: count_invitations
SELECT count(*) FROM (
    SELECT FROM invitations
    WHERE org_id = $1 AND project_id IS NOT DISTINCT FROM $2 LIMIT 10001
) counted;

-- name: renew_invitation
-- The caller is its sender from now on: whoever has the token can use it.
UPDATE invitations SET hash = $4, expires_at = $5, mailed_at = NULL, created_by = $6
    WHERE org_id = $1 AND project_id IS NOT DISTINCT FROM $2 AND id = $3 RETURNING *;

-- name: delete_invitation
DELETE FROM invitations WHERE org_id = $1 AND project_id IS NOT DISTINCT FROM $2 AND id = $3 RETURNING id;

-- name: delete_invitations_by
-- Those that a user or an access key has sent.
DELETE FROM invitations WHERE org_id = $1 AND created_by = ANY ($2::uuid[]) RETURNING id;

-- name: invitation_open
SELECT EXISTS (SELECT 1 FROM invitations WHERE hash = $1 AND expires_at > $2);

-- name: invitation_mailed
UPDATE invitations SET mailed_at = now() WHERE org_id = $1 AND id = $2 AND hash = $3;

-- name: take_invitations_of
-- All that are open for an address, which its owner has shown to be theirs.
DELETE FROM invitations WHERE email = $1 AND expires_at > $2 RETURNING *;

-- name: take_invitation
-- Opens an invitation: whoever comes second finds none.
DELETE FROM invitations WHERE hash = $1 AND expires_at > $2 RETURNING *;
