"""One run in many dialects: OpenAI's Responses and Conversations, AG-UI, the AI SDK's UI messages, A2A.

A dialect is a translator (a pure function from a run's events to frames, which knows no database) and thin routes that
read a request of that dialect into ours. The run, its journal and its conversation are the same as everybody's.
"""
