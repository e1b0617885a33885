"""What the numbers in the docs come from: `make bench`."""
