"""The graph IR: types, graph, text form, verifier, interpreter, rewrite rules."""
