"""SASL exchanges, password records and accounts; no IO."""
