"""Recording a run: events, their call stacks and the dead of each collection, handed over in batches."""
