"""``depictqa serve``: one judge over HTTP for many clients."""
