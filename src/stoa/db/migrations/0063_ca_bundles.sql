-- Certificate authorities that a connection trusts beside the system's.
ALTER TABLE connections ADD COLUMN ca_bundle text;
