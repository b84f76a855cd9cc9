"""The trainer: from a recipe to a checkpoint folder."""
