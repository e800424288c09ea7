"""The servers: an engine, the policy and the domain behind a listening socket."""
