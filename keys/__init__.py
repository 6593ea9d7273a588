"""The key files: what makes them (generate.sh), what checks them (check.py), and what masks secrets."""
