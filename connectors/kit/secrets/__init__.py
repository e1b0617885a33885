"""Secrets that are kept elsewhere: in the environment, in files, in Vault, in AWS, and where packages read them."""
