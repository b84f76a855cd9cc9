"""Videos: which frames to judge, how they are read one by one, and what their scores say over time."""
