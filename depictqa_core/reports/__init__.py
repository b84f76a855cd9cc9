"""What people read and look at: text, tables, contact sheets, charts, heat maps."""
