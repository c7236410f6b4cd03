-- name: notify
-- Wakes whoever listens: a payload for each channel. The commit waits for no disk and no standby.
SELECT set_config('synchronous_commit', 'off', true),
       (SELECT count(pg_notify(channel, payload)) FROM unnest($1::text[], $2::text[]) AS n (channel, payload));
