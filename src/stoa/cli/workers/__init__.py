"""`stoa serve --workers N`: a parent and N worker processes behind one port, which are nodes of one database.

The parent (`parent`, `pool`) starts and migrates the database, and restarts workers (`child`, `worker`) that end; it
serves no requests. All workers accept connections on the one listening socket of the parent. A socket pair to each
worker (`channel`) carries orders, and counts for the page of metrics (`counts`). When the parent ends, the workers end.
The reasons are in docs/decisions/0098-workers-behind-one-socket.md.
"""
