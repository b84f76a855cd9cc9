"""Importer of the published DepictQA-Wild weights."""
