"""The wire formats of other APIs, over one run: OpenAI's Responses and Conversations, AG-UI, the AI SDK's UI messages,
A2A.

A dialect is a translator (a pure function from a run's events to frames, without a database) and thin routes that turn
a request of that dialect into ours. The run, its journal and its conversation are ordinary ones.
"""
