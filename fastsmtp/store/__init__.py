"""Where mail is kept: the contract (`base`), the schema (`keys`) and its backends."""
