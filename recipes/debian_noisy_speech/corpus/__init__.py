"""The larger corpus, built from Debian packages. Used by ``prepare.py corpus`` and by nothing else."""
