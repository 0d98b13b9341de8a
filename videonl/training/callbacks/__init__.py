"""What acts inside Lightning's loop: callbacks, loggers, checkpoints, and checks of every loss."""
