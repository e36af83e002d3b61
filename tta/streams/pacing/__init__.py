"""Which batches a method adapts to, and to which it only predicts: time and cost as a protocol."""
