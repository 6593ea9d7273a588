"""The key files: what makes (generate.sh), checks (check.py), and masks them (mask.py)."""
