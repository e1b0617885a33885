"""What every connector is made of."""
