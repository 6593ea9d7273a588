"""The key files, what makes them (generate.sh) and what checks them (check.py)."""
