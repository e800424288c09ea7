"""Sockets, connections and time: what the engines are kept free of."""
