-- A key's own wish for chat completions that can be resumed: what `Stoa-Resumable: true` asks for one request, this asks for all streams.

ALTER TABLE access_keys ADD COLUMN resumable_streams boolean NOT NULL DEFAULT false;
