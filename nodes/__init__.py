"""Thin ComfyUI nodes over ``depictqa_core``: sockets in, results out; one module per topic."""
