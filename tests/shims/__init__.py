"""Libraries that are preloaded into a program under test; built when they are used."""
