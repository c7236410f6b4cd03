-- name: notify
-- Notifies each channel of $1 with its payload in $2. The commit waits neither for the disk nor for a standby.
SELECT set_config('synchronous_commit', 'off', true),
       (SELECT count(pg_notify(channel, payload)) FROM unnest($1::text[], $2::text[]) AS n (channel, payload));
