-- A message that interrupts has the next turn: it stands before those that merely wait, and the run under way ends for it.
ALTER TABLE runs ADD COLUMN interrupting boolean NOT NULL DEFAULT false;
