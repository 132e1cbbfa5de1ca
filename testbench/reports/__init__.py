"""Reports: one self-contained HTML file about one run, several runs side by side, or the tables of a sweep."""
