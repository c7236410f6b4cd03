-- How people sign in: by OpenID Connect, by a link of the first start, by a password that was reset by mail.

ALTER TABLE users ADD COLUMN email_verified_at timestamptz;          -- when it was shown that the user receives mail at `email`; NULL: never
ALTER TABLE users ADD COLUMN resets int NOT NULL DEFAULT 0;          -- mails about a forgotten password since `resets_since`
ALTER TABLE users ADD COLUMN resets_since timestamptz;
ALTER TABLE users ADD COLUMN reset_at timestamptz;                   -- the last of them
ALTER TABLE invitations ADD COLUMN mailed_at timestamptz;            -- its token went to the address, and to nobody else

ALTER TABLE user_sessions ADD COLUMN method text NOT NULL DEFAULT 'password' CHECK (method IN ('password', 'oidc', 'invitation', 'first_start'));
ALTER TABLE user_sessions ADD COLUMN address text;                   -- of the browser, when it signed in
ALTER TABLE user_sessions ADD COLUMN client text;                    -- its User-Agent
ALTER TABLE user_sessions ADD COLUMN hint text;                      -- the provider's ID token, encrypted: it asks for it when the user signs out

-- Who a user is at a provider. The subject identifies somebody, the e-mail address does not: it may change, and may be given to another.
CREATE TABLE user_identities (
    issuer     text NOT NULL,
    subject    text NOT NULL,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX user_identities_by_user ON user_identities (user_id);
ALTER TABLE user_identities ENABLE ROW LEVEL SECURITY;               -- without a policy: nothing but the server's own role reads it

-- Links that open once: one makes the first owner, one sets a forgotten password.
CREATE TABLE user_links (
    hash       bytea PRIMARY KEY,                                    -- SHA-512 of the token
    kind       text NOT NULL CHECK (kind IN ('first_owner', 'password_reset')),
    user_id    uuid REFERENCES users ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    CHECK ((kind = 'first_owner') = (user_id IS NULL))
);
CREATE UNIQUE INDEX user_links_by_user ON user_links (user_id);      -- a new one takes the place of the one before
ALTER TABLE user_links ENABLE ROW LEVEL SECURITY;                    -- the same
