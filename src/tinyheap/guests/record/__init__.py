"""Recording a run: events, their call stacks and the objects that each collection frees, handed over in batches."""
