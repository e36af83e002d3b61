"""Which sample comes when: scenarios, label orders, batches, and the only loop over a stream."""
