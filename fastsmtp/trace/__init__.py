"""What became of messages, for `fastsmtp why`: ring files, and how they are read."""
