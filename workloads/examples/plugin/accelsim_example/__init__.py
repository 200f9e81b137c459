"""What an example package adds to accelsim."""
