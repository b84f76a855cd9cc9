"""Thin ComfyUI nodes: sockets on one side, the answers of ``depictqa_core`` on the other; one module per topic."""
