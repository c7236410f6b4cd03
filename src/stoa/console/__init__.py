"""The web pages: chat, knowledge, runs. The console is a client of the public API, which it calls in process. It
imports no slice."""
