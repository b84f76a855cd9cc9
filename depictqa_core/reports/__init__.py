"""Reports: text, tables, contact sheets, charts, heat maps."""
