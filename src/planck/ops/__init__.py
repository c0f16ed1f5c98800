"""The operator set: attributes, shape inference, reference, loop body."""
