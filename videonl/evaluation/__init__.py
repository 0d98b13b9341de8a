"""What a network costs, how well it does, and whether the difference between two is real."""
