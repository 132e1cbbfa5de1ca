"""The field's figures and tables, one file each, found by name: ``TITLE``, and ``draw(job)``, which returns what to look at."""
