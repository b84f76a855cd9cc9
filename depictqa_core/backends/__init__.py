"""The judges behind the verbs: one interface (``base``), one file for each kind of network that answers."""
