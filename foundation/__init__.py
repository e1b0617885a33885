"""What every room needs: settings, errors, clock, durations, masking, tracing, log fields, ids."""
