"""The key files: what makes them (generate.sh), and what checks them (check.py); and what keeps
secrets out of all that is printed (mask.py)."""
