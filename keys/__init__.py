"""What belongs to the keys: check.py looks at them and at the config, generate.sh makes them."""
