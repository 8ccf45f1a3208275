"""The command line: one file per command; :mod:`enfold.cli.main` lists them."""
