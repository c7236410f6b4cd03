"""The web pages: chat, knowledge, runs. A client of the public API, which it calls in process; it knows no slice."""
