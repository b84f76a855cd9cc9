"""Imports the published DepictQA-Wild weights into a checkpoint folder."""
