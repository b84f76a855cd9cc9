"""Requests to OpenAI-compatible chat servers: addresses, messages, the one client, many requests at once."""
