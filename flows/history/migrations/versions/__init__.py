"""One module per revision, never changed after a release."""
