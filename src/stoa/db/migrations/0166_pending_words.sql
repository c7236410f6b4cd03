-- New entries of a GIN index wait in a list that each search reads whole, and that the insertion which fills it has to
-- sort into the index. With the 4 MB of the default, a message waited for a second then, and a search read 500 pages
-- more in each of its steps.
ALTER INDEX messages_dated_words SET (gin_pending_list_limit = 512);
ALTER INDEX conversations_dated_words SET (gin_pending_list_limit = 512);
ALTER INDEX runs_by_moments SET (autosummarize = on);
