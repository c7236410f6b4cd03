"""`stoa serve --workers N`: a parent and N worker processes behind one port, which are nodes of one database.

The parent (`parent`, `crew`) starts the database, migrates it, and keeps N workers (`child`, `worker`) alive; it
answers no request. All workers accept connections from the one listening socket of the parent. A socket pair to each
(`channel`) carries orders, and counts for the page of metrics (`counts`). When the parent ends, so do they. Why it is
built as it is: docs/decisions/0098-workers-behind-one-socket.md.
"""
