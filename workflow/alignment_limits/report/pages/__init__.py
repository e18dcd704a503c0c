"""The report's pages: self-contained HTML without scripts; every text is escaped."""
